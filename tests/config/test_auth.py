"""`[auth]`: where keys come from, what may be set about pages and names, and that none of it shows a secret."""

from pathlib import Path

import pytest

from penstock.assembly import build
from penstock.config.errors import ConfigError
from penstock.config.explain import summary
from penstock.config.load import load
from penstock.config.model import Config
from penstock.config.units import Secret

KEY = "a-key-that-nobody-may-see"


def read(folder: Path, text: str = "", **environ: str) -> Config:
    file = folder / "penstock.toml"
    file.write_text(text)
    return load(environ, file=file)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "box.example"])
def test_with_a_key_the_server_may_listen_anywhere(tmp_path: Path, host: str) -> None:
    config = read(tmp_path, PENSTOCK_API_KEYS=KEY, PENSTOCK_HOST=host)
    assert (config.auth.open, config.server.host) == (False, host)


def test_without_one_the_refusal_names_both_ways_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"set PENSTOCK_API_KEYS .*penstock keys new.*--insecure"):
        read(tmp_path, PENSTOCK_HOST="0.0.0.0")


def test_keys_come_from_a_variable_a_file_of_secrets_or_the_setting(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"web:{KEY}\n")
    given = (
        read(tmp_path, PENSTOCK_API_KEYS=f"web:{KEY}"),
        read(tmp_path, PENSTOCK_AUTH__API_KEYS=f"web:{KEY}"),
        read(tmp_path, '[auth]\napi_keys = "file:secret"'),
        read(tmp_path, '[auth]\napi_keys = "env:MINE"', MINE=f"web:{KEY}"),
    )
    assert [config.auth.api_keys for config in given] == [Secret(f"web:{KEY}")] * 4


def test_a_file_of_keys_beside_the_configuration_is_found_by_itself(tmp_path: Path) -> None:
    assert read(tmp_path).auth.open
    (tmp_path / "penstock-keys.json").write_text('{"keys": []}')
    config = read(tmp_path)
    assert (config.auth.open, config.auth.keys_file) == (False, str(tmp_path / "penstock-keys.json"))


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    config = read(tmp_path, '[auth]\nkeys_file = "mine.json"')
    with pytest.raises(ValueError, match=r"mine\.json; make it with: penstock keys --file"):
        build(config)


def test_keys_that_cannot_be_stop_the_start_and_are_not_shown(tmp_path: Path) -> None:
    config = read(tmp_path, PENSTOCK_API_KEYS=f"{KEY},hunter2")
    with pytest.raises(ValueError, match=r"^auth.api_keys \(PENSTOCK_API_KEYS\): key 2 must have 20") as wrong:
        build(config)
    assert "hunter2" not in str(wrong.value)


def test_a_secret_that_is_too_short_is_refused_with_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"auth.secret: secret must have at least 32 characters; .*openssl rand -hex 32"
    ) as wrong:
        read(tmp_path, PENSTOCK_AUTH__SECRET="short-canary")
    assert "short-canary" not in str(wrong.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('origins = ["*"]', "origins: '*' is none; write scheme, host and port"),
        ('origins = ["chat.example.com"]', "write scheme, host and port"),
        ('origins = ["https://chat.example.com/"]', "write scheme, host and port"),
        ('origins = ["null"]', "write scheme, host and port"),
        ('hosts = ["https://ai.example.com"]', "write it without scheme and port"),
        ('hosts = ["ai.example.com:443"]', "write it without scheme and port"),
        ('trusted_proxies = ["nginx"]', "'nginx' is no address and no network"),
        ('trusted_proxies = ["10.0.0.1/8"]', "'10.0.0.1/8' is no address and no network"),
    ],
)
def test_a_page_a_name_or_a_proxy_that_cannot_be_is_named(tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.") as wrong:
        read(tmp_path, f"[server]\n{setting}")
    assert message in str(wrong.value)


def test_neither_the_configuration_nor_its_summary_shows_a_secret(tmp_path: Path) -> None:
    config = read(tmp_path, PENSTOCK_API_KEYS=KEY, PENSTOCK_AUTH__SECRET="s3cr3t" * 6)
    for text in (repr(config), str(config), summary(config, file=None)):
        assert KEY not in text
        assert "s3cr3t" not in text
    assert "access     with a key of PENSTOCK_API_KEYS" in summary(config, file=None)
    assert "access     open: any key is accepted and ignored" in summary(Config(), file=None)
