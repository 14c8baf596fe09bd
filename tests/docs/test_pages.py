"""The pages hang together: links lead somewhere, the navigation knows every page, no page loads anything from elsewhere."""

from pathlib import Path

import pytest
import yaml

from tests.docs.pages import DOCS, LINK, PAGES, anchors, prose
from tests.tools import ROOT


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for link in LINK.findall(prose(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_of_the_site_links_only_to_the_site(page: Path) -> None:
    inside = ROOT / "docs"
    links = [link.partition("#")[0] for link in LINK.findall(prose(page)) if "://" not in link]
    assert [link for link in links if link and inside not in (page.parent / link).resolve().parents] == []


def test_the_navigation_names_every_page_once_on_four_shelves() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    shelves = {name: inside for entry in nav for name, inside in entry.items()}
    assert list(shelves) == ["Home", "Tutorial", "How-to", "Reference", "Explanation"]
    named = [shelves.pop("Home"), *(page for shelf in shelves.values() for entry in shelf for page in entry.values())]
    assert sorted(named) == sorted(str(page.relative_to(ROOT / "docs")) for page in DOCS)


def test_the_site_asks_for_no_font_from_elsewhere() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert settings["theme"]["font"] is False
    assert set(settings) & {"extra_css", "extra_javascript"} == set()


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_begins_with_one_heading(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert lines[0].startswith("# ")
