"""The pages a reader sees, their code blocks and their links."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.tools import ROOT

FENCE = re.compile(r"^ *```([\w-]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]


@dataclass(frozen=True)
class Snippet:
    """One fenced block: where it stands, its language and its text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def snippets(language: str) -> list[Snippet]:
    """Every block of one language, over all pages."""
    return [
        Snippet(str(page.relative_to(ROOT)), text.count("\n", 0, found.start()) + 1, found[1], found[2])
        for page in PAGES
        for text in [page.read_text()]
        for found in FENCE.finditer(text)
        if found[1] == language
    ]


@cache
def prose(page: Path) -> str:
    """A page without its code."""
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text()))


@cache
def anchors(page: Path) -> frozenset[str]:
    """The headings of a page as the site's toc names them: lower case, punctuation dropped, spaces as hyphens."""
    headings = HEADING.findall(FENCE.sub("", page.read_text()))
    return frozenset(re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower()) for text in headings)
