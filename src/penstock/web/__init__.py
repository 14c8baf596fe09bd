"""The pages the server shows: static files, read once, served under a policy that allows nothing from elsewhere."""

from __future__ import annotations

from importlib.resources import files

PAGES: dict[str, tuple[str, str]] = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/static/play.css": ("play.css", "text/css; charset=utf-8"),
    "/static/play.js": ("play.js", "text/javascript; charset=utf-8"),
}
"""Path → file name and content type."""


def pages() -> dict[str, tuple[bytes, str]]:
    """Path → contents and content type of every page."""
    folder = files("penstock.web") / "static"
    return {path: ((folder / name).read_bytes(), kind) for path, (name, kind) in PAGES.items()}
