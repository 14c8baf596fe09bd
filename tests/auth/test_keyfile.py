"""The file of keys: written whole, read anew when it changes, and never more readable than it must be."""

import stat
from pathlib import Path

import pytest

from penstock.auth.grant import Allowance
from penstock.auth.keyfile import LOOK, KeyFile, changing, read
from penstock.auth.keys import Key, new_key


def add(path: Path, name: str, **limits: object) -> tuple[str, Key]:
    text, key = new_key(name, **limits)
    with changing(path) as keys:
        keys[key.id] = key
    return text, key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_what_was_written_is_read(path: Path) -> None:
    _, first = add(path, "alice", models=("fast",), expires=7, allowance=Allowance(burst=2))
    _, second = add(path, "bob")
    assert read(path) == {first.id: first, second.id: second}


def test_the_file_holds_no_key_and_is_its_owners_alone(path: Path) -> None:
    text, key = add(path, "alice")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert text.split("_")[2] not in path.read_text()
    assert key.id in path.read_text()
    assert [file.name for file in path.parent.iterdir()] == ["keys.json"]


def test_a_change_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    add(path, "alice")
    before = path.read_bytes()

    def fail() -> None:
        with changing(path) as keys:
            keys.clear()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == before


def test_a_change_that_changes_nothing_writes_nothing(path: Path) -> None:
    with changing(path):
        pass
    assert not path.exists()


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "is no file of keys"),
        (b"[]", "is no file of keys"),
        (b'{"keys": [{"id": 1}]}', "is no file of keys"),
        (b'{"keys": [], "version": 2}', "was written by a newer penstock"),
        (b"\xff\x00", "is no file of keys"),
    ],
)
def test_a_file_that_is_none_is_named(path: Path, contents: bytes, message: str) -> None:
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=message):
        read(path)


def test_a_file_that_is_not_there_is_named_with_the_command_that_makes_it(path: Path) -> None:
    with pytest.raises(ValueError, match=f"penstock keys --file {path} new NAME"):
        read(path)


def test_a_file_that_others_may_write_to_is_refused(path: Path) -> None:
    add(path, "alice")
    path.chmod(0o620)
    with pytest.raises(ValueError, match=f"chmod 600 {path}"):
        read(path)


class Reading:
    """A key file of a running server, whose clock the test moves."""

    def __init__(self, path: Path) -> None:
        self.now = 0.0
        self.troubles: list[Exception] = []
        self.file = KeyFile(path, troubled=self.troubles.append, clock=lambda: self.now)

    def names(self) -> list[str]:
        return [key.name for key in self.file.keys().values()]

    def later(self) -> list[str]:
        self.now += LOOK
        return self.names()


def test_a_change_is_seen_at_the_next_look_and_not_looked_for_before(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(path, "alice")
    reading = Reading(path)
    looks: list[KeyFile] = []
    found = KeyFile._stat

    def look(self: KeyFile) -> tuple[int, int, int] | None:
        looks.append(self)
        return found(self)

    monkeypatch.setattr(KeyFile, "_stat", look)
    add(path, "bob")
    assert [reading.names() for _ in range(1000)] == [["alice"]] * 1000
    assert looks == []
    assert reading.later() == ["alice", "bob"]
    assert looks == [reading.file]


def test_keys_that_have_not_changed_are_the_same_object(path: Path) -> None:
    add(path, "alice")
    reading = Reading(path)
    before = reading.file.keys()
    reading.later()
    assert reading.file.keys() is before


def test_a_file_that_is_gone_lets_nobody_in(path: Path) -> None:
    add(path, "alice")
    reading = Reading(path)
    path.unlink()
    assert (reading.later(), reading.troubles) == ([], [])
    add(path, "bob")
    assert reading.later() == ["bob"]


def test_a_file_that_was_spoilt_leaves_the_keys_as_they_were_and_is_complained_about_once(path: Path) -> None:
    add(path, "alice")
    reading = Reading(path)
    path.write_text("oh no")
    assert [reading.later(), reading.later()] == [["alice"], ["alice"]]
    assert len(reading.troubles) == 1
