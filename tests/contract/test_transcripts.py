"""Every registered dialect on every transport says what the stored transcripts say, byte for byte, and nothing the schemas lack."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from penstock.registry import names
from penstock.testing.laws.order import check_order
from tests.contract.transcripts import OUTPUTS, SITUATIONS, entries, situation, told
from tests.contract.validate import CURSOR_KEYS, check_body, check_frame

every_situation = pytest.mark.parametrize("folder", SITUATIONS, ids=lambda folder: folder.name)
every_output = pytest.mark.parametrize("output", OUTPUTS)

NAMED = {
    "hello",
    "reasoning-then-text",
    "tool-round-trip",
    "provider-tools-and-citations",
    "unicode-and-newlines",
    "nothing-said",
    "fallback-before-content",
    "continued",
    "upstream-dies-midway",
    "cancelled",
    "deadline",
    "server-goes-away",
    "resume-after-7",
    "resume-within-the-ending",
    "rejoin-from-another-device",
    "slow-reader-coalesced",
    "binary",
    "several-choices",
}


@every_situation
@every_output
def test_the_stored_bytes_are_reproduced(folder: Path, output: str) -> None:
    assert told(folder, output) == (folder / "out" / output).read_bytes()


@every_situation
@every_output
def test_every_stored_message_is_in_the_schema_of_its_dialect(folder: Path, output: str) -> None:
    dialect, encoder = output.split(".")
    data = (folder / "out" / output).read_bytes()
    if encoder != "websocket":
        check_body(dialect, encoder, data)
        return
    for line in filter(None, data.split(b"\n")):
        binary = line.startswith(b"base64:")
        check_frame(dialect, encoder, base64.b64decode(line[7:]) if binary else line.decode())


@every_situation
def test_the_stored_events_are_a_legal_run(folder: Path) -> None:
    for offset, entry in enumerate(entries(folder), 1):
        assert (entry.first, entry.last) == (offset, offset)
    check_order(entry.event for entry in entries(folder))


@every_situation
def test_a_situation_has_one_file_for_each_dialect_on_each_transport(folder: Path) -> None:
    assert sorted(path.name for path in (folder / "out").iterdir()) == sorted(OUTPUTS)
    assert situation(folder).says.endswith(".")


def test_every_situation_that_can_be_reached_is_told() -> None:
    assert {folder.name for folder in SITUATIONS} == NAMED


def test_every_registered_dialect_has_a_schema_to_be_held_against() -> None:
    assert sorted(CURSOR_KEYS) == sorted(names("dialects"))
