"""Paths that nothing is served at: what was meant where that is plain, and in whose words the others are refused.

Clients differ in what they expect of a base URL: with or without `/v1`, with or without a slash at its end. And they ask for
parts of the APIs they know that are not served here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.routing import Route as HttpRoute

from penstock.core.frame import Dialect

VERSION = "/v1"
MOST_NAMED = 12
"""Paths a message names."""

FAMILIES: dict[str, str] = {
    **dict.fromkeys(
        (
            *("assistants", "audio", "batches", "chat", "chatkit", "completions", "containers", "conversations"),
            *("edits", "embeddings", "engines", "evals", "files", "fine-tunes", "fine_tuning", "images", "models"),
            *("moderations", "organization", "realtime", "responses", "skills", "threads", "uploads"),
            *("vector_stores", "videos"),
        ),
        "openai-chat",
    ),
    **dict.fromkeys(("complete", "messages", "organizations"), "anthropic"),
}
"""The first word of a path behind `/v1` → the dialect in whose words an error reaches the clients of that API."""

_SLASHES = re.compile("//+")


def meant(path: str, routes: Sequence[BaseRoute]) -> str | None:
    """The path that is served and that this one means; None where there is none, or it is this one."""
    for candidate in _readings(path):
        if candidate != path and any(_serves(route, candidate) for route in routes):
            return candidate
    return None


def _readings(path: str) -> Iterator[str]:
    tidy = _SLASHES.sub("/", path).rstrip("/") or "/"
    yield tidy
    while tidy.startswith(f"{VERSION}{VERSION}/"):
        tidy = tidy.removeprefix(VERSION)
        yield tidy
    if not tidy.startswith(f"{VERSION}/"):
        yield VERSION + tidy


def _serves(route: BaseRoute, path: str) -> bool:
    return isinstance(route, HttpRoute | WebSocketRoute) and route.path_regex.match(path) is not None


def words(
    path: str, headers: Mapping[bytes, bytes], dialects: Mapping[str, Dialect], usual: Dialect | None = None
) -> Dialect | None:
    """The dialect of whoever asks for a path that several APIs have: by a header that only one has, else by the path, else `usual`."""
    for dialect in dialects.values():
        if any(name.encode() in headers for name in dialect.traits.passes):
            return dialect
    return dialects.get(FAMILIES.get(_first_word(path), ""), usual)


def nothing_at(path: str, mounted: str, known: Iterable[str]) -> str:
    """That nothing is served at a path, with the nearest that is, else with the paths where an API begins."""
    served = list(known)
    word = _first_word(path)
    # What an API has and is not served here is no slip of the pen for something else.
    likely = [each for each in served if _first_word(each) == word] if word in FAMILIES else served
    near = difflib.get_close_matches(path, likely, 1, cutoff=0.75)
    if near:
        hint = f"did you mean {mounted}{near[0]}?"
    else:
        models = f"{VERSION}/models"
        begin = [each for each in served if each.startswith(f"{VERSION}/") and "{" not in each and each != models]
        hint = f"there are {', '.join(mounted + each for each in begin[:MOST_NAMED])}, and GET {mounted}{models} for the models"
    return f"nothing is served at {mounted}{path[:128]}; {hint}"


def _first_word(path: str) -> str:
    return _SLASHES.sub("/", path).removeprefix(VERSION).strip("/").partition("/")[0]
