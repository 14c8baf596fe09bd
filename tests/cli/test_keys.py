"""`penstock keys`: a key is shown once, listed without itself, and revoked; and the other commands show one to a server."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from penstock.auth.keyfile import FILE, read
from penstock.cli import main
from penstock.cli.client import ServerRefused, connected
from penstock.config.read import KEYS_FILE
from tests.server.keyed import ALICE, with_keys
from tests.serving import serving


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keys(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["keys", *arguments])


def new(*arguments: str) -> str:
    done = keys("new", *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def test_a_new_key_is_printed_alone_and_only_its_hash_is_kept(folder: Path) -> None:
    done = keys("new", "alice")
    text = done.stdout.strip()
    assert re.fullmatch(r"psk_[a-z2-7]{10}_[0-9A-Za-z]{49}", text)
    assert text not in done.stderr
    assert text.split("_")[2] not in (folder / FILE).read_text()
    (key,) = read(folder / FILE).values()
    assert (key.name, key.models, key.routes, key.expires, key.allowance) == ("alice", (), (), None, None)


def test_what_is_granted_is_kept_and_listed_and_the_key_is_not(folder: Path) -> None:
    text = new(
        *("alice", "--model", "fast", "--model", "openai/*", "--route", "/v1/streams", "--expires", "30d"),
        *("--runs-per-minute", "30", "--concurrent-runs", "2"),
    )
    (key,) = read(folder / FILE).values()
    assert (key.models, key.routes) == (("fast", "openai/*"), ("/v1/streams",))
    assert key.expires == key.created + 30 * 86400
    assert key.allowance is not None
    assert (key.allowance.runs_per_minute, key.allowance.concurrent_runs) == (30, 2)
    listed = keys("list").stdout
    assert listed.startswith(f"{key.id}  alice  since ")
    assert "models fast openai/*  routes /v1/streams  30 runs a minute" in listed
    told = json.loads(keys("list", "--json").stdout)
    assert (told["id"], told["name"], "digest" in told) == (key.id, "alice", False)
    assert text not in listed


def test_keys_are_revoked_by_id_or_all_of_a_name(folder: Path) -> None:
    for name in ("alice", "alice", "bob"):
        new(name)
    first, second, bob = read(folder / FILE).values()
    assert keys("revoke", first.id).exit_code == 0
    assert set(read(folder / FILE)) == {second.id, bob.id}
    assert keys("revoke", "alice").stderr == f"revoked {second.id} of alice\n"
    assert set(read(folder / FILE)) == {bob.id}
    again = keys("revoke", "alice")
    assert (again.exit_code, again.stderr) == (1, f"no key in {FILE} has this id or name\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["new", "a b"], "a key cannot be called 'a b'"),
        (["new", "a", "--expires", "soon"], "'soon' is no time"),
        (["new", "a", "--expires", "0d"], "'0d' is no time"),
        (["--file", "no/folder/keys.json", "new", "a"], "No such file or directory"),
        (
            ["list"],
            "there is no file penstock-keys.json; make it with: penstock keys --file penstock-keys.json new NAME",
        ),
        (["revoke", "a"], "there is no file penstock-keys.json"),
    ],
)
def test_a_mistake_is_said_in_one_line(folder: Path, arguments: list[str], message: str) -> None:
    done = keys(*arguments)
    assert done.exit_code == 1
    assert message in done.stderr
    assert list(folder.iterdir()) == []


def test_the_file_is_the_one_the_configuration_names(folder: Path) -> None:
    inner = folder / "etc"
    inner.mkdir()
    (inner / "penstock.toml").write_text('[auth]\nkeys_file = "mine.json"\n')
    done = keys("--config", "etc/penstock.toml", "new", "alice")
    assert done.exit_code == 0, done.output
    assert [key.name for key in read(inner / "mine.json").values()] == ["alice"]
    done = keys("--file", "other.json", "new", "bob")
    assert [key.name for key in read(folder / "other.json").values()] == ["bob"]


def test_the_file_that_is_found_by_itself_is_the_one_that_is_made() -> None:
    assert KEYS_FILE == FILE


async def test_a_command_shows_the_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(with_keys()) as served:
        monkeypatch.delenv("PENSTOCK_API_KEY", raising=False)
        async with connected(served.url) as client:
            with pytest.raises(ServerRefused) as refused:
                await client.streams()
            assert refused.value.code == "unauthenticated"
        monkeypatch.setenv("PENSTOCK_API_KEY", ALICE)
        async with connected(served.url) as client:
            assert await client.streams() == []
