"""The reference is what the code says, and what stands in it by hand is true as well."""

import re
import subprocess
import sys

import pytest

from docs import generate
from penstock.core.errors import TABLE
from penstock.core.events import Event
from tests.docs.pages import DOCS
from tests.examples.hosting import asking, penstock_serve
from tests.test_import_rule import NEIGHBOURS
from tests.tools import ROOT

REFERENCE = ROOT / "docs" / "reference"


def test_what_is_generated_is_what_the_code_would_write_now() -> None:
    stale = [str(path.relative_to(ROOT)) for path, text in generate.pages() if path.read_text() != text]
    assert stale == [], "make it anew: python -m docs.generate"


def test_the_check_names_a_page_that_differs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(generate.BLOCKS, "states", lambda: "another table")
    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().out == "differs: docs/explanation/architecture.md\n"


def test_the_generator_runs_as_a_command() -> None:
    command = [sys.executable, "-m", "docs.generate", "--check"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_block_stands_on_some_page() -> None:
    used = {name for page in DOCS for _, name, _ in generate.BLOCK.findall(page.read_text())}
    assert {name for name in used if not name.startswith("file ")} == set(generate.BLOCKS)


def test_every_error_code_is_in_the_reference_once() -> None:
    codes = re.findall(r"^\| `(\w+)` \| \d{3} \| \d{4} \|", (REFERENCE / "errors.md").read_text(), re.MULTILINE)
    assert sorted(codes) == sorted(TABLE)


def test_every_event_has_its_section() -> None:
    headings = re.findall(r"^### `(\w+)`$", (REFERENCE / "events.md").read_text(), re.MULTILINE)
    assert headings == [str(kind.__struct_config__.tag) for kind in Event.__args__]


def test_the_story_of_the_reference_says_everything() -> None:
    assert {type(event) for event in (*generate.STORY, *generate.ENDS)} == set(Event.__args__)


def test_the_architecture_says_who_may_import_whom_as_the_rule_has_it() -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
    rows = re.findall(r"^\| (`[^|]+`) \| [^|]+ \| ([^|]+) \|$", page, re.MULTILINE)
    told = {
        room: set(re.findall(r"`([\w.]+)`", allowed))
        for rooms, allowed in rows
        for room in re.findall(r"`(\w+)`", rooms)
    }
    existing = {room for room in NEIGHBOURS if (ROOT / "src" / "penstock" / room).is_dir()}
    assert {room: allowed for room, allowed in told.items() if room in NEIGHBOURS} == {
        room: {name for name in NEIGHBOURS[room] if name.partition(".")[0] in existing} for room in existing
    }


def test_the_page_of_the_architecture_names_every_room_and_no_file_that_is_not_there() -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
    package = ROOT / "src" / "penstock"
    rows = [line for line in page[page.index("## The rooms") :].splitlines() if line.startswith("| `")]
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    rooms = {path.stem for path in package.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert told == rooms - {"__init__", "__main__", "__pycache__", "registry"}
    folders = (ROOT, package, package / "server")
    files = set(re.findall(r"`([\w/]+\.py)`", page))
    assert sorted(file for file in files if not any((folder / file).is_file() for folder in folders)) == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/chat/stream?prompt=Hi", None),
        ("POST", "/v1/streams", {"prompt": "Hi"}),
        ("POST", "/v1/streams", {"prompt": "Hi", "stream": False}),
        ("POST", "/v1/chat/completions", {"prompt": "Hi"}),
        ("DELETE", "/v1/models", None),
        ("GET", "/", None),
    ],
)
async def test_every_header_the_server_sends_is_in_the_reference(method: str, path: str, body: object) -> None:
    async with penstock_serve() as url, asking(url) as client, client.stream(method, path, json=body) as answer:
        sent = set(answer.headers)
        if stream := answer.headers.get("penstock-stream-id"):
            await client.delete(f"/v1/streams/{stream}")
    known = set(re.findall(r"^\| `([A-Za-z-]+)` \|", (REFERENCE / "headers.md").read_text(), re.MULTILINE))
    pages = {"Content-Security-Policy", "Referrer-Policy"}
    assert sent - {name.lower() for name in known | pages} == set()
