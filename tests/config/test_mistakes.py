"""What is said of settings that cannot be: the file, the line, the key, and the nearest name."""

import errno
from pathlib import Path

import pytest

from penstock.config.errors import ConfigError
from penstock.config.load import is_loopback, load
from tests.config.writing import written

pytestmark = pytest.mark.usefixtures("folder")

MISTAKES = [
    ("[metrics]\nport = 70000", "penstock.toml:2: metrics.port: 70000 is none; there are 0 to 65535"),
    ("[metrics]\nport = 9420\nhost = ''", "penstock.toml:3: metrics.host: must not be empty"),
    ("[serve]\n", "penstock.toml:1: serve: there is no setting of this name; did you mean 'server'?"),
    ("[server]\n\nprot = 1\n", "penstock.toml:3: server.prot: there is no setting of this name; did you mean 'port'?"),
    ("[server]\nport = 'x'\n", "penstock.toml:2: server.port: expected a whole number, got text"),
    ("[server]\nport = 70000\n", "penstock.toml:2: server.port: expected a whole number <= 65535"),
    ("[server]\nport = true\n", "penstock.toml:2: server.port: expected a whole number, got true or false"),
    ("server = 1\n", "penstock.toml:1: server: this must be a table, as in [server]"),
    (
        "[server]\nmax_body = '1 zip'\n",
        "penstock.toml:2: server.max_body: '1 zip' is no size; write bytes as a whole number, ",
    ),
    ("[server]\nheartbeat = 0\n", "penstock.toml:2: server.heartbeat: heartbeat (0s) must not be below 0.01s"),
    ("[server]\npath_prefix = 'x/'\n", "penstock.toml:2: server.path_prefix: path_prefix begins with a slash and ends"),
    ("[server]\nmodel = 'dmo'\n", "penstock.toml:2: server.model: no model is called 'dmo'; did you mean 'demo'?"),
    ("[log]\nlevel = 'inf'\n", "penstock.toml:2: log.level: 'inf' is no choice here; did you mean 'info'?"),
    ("[limits]\ngap = 0\n", "penstock.toml:2: limits.gap: gap (0s) must not be below 0.01s"),
    ("[bounds]\nlow = '1MiB'\n", "penstock.toml:2: bounds.low: low (1MiB) must be above 0 and not above high (64KiB)"),
    ("route = 1\n", "penstock.toml:1: route: routes are written as [[route]], with two brackets"),
    ("[route]\npath = '/a'\n", "penstock.toml:1: route: routes are written as [[route]], with two brackets"),
    ("[[route]]\ndialect = 'plain'\n", "penstock.toml:1: route[0]: this needs a 'path'"),
    ("[[route]]\npath = 'a'\n", "penstock.toml:2: route[0].path: path 'a' must begin with a slash"),
    (
        "[[route]]\npath = '/v1/models'\n",
        "penstock.toml:2: route[0].path: path '/v1/models' is served by penstock itself",
    ),
    (
        "[[route]]\npath = '/v1/streams/x'\n",
        "penstock.toml:2: route[0].path: path '/v1/streams/x' is served by penstock",
    ),
    (
        "[[route]]\npath = '/a'\n[[route]]\npath = '/a'\n",
        "penstock.toml:4: route[1].path: another [[route]] has the path '/a' already",
    ),
    (
        "[[route]]\npath = '/a'\ndialect = 'openai-cat'\n",
        "penstock.toml:3: route[0].dialect: no dialect is called 'openai-cat'; did you mean 'openai-chat'?",
    ),
    (
        "[[route]]\npath = '/a'\ntransport = [\n'sse',\n'ssee']\n",
        "penstock.toml:3: route[0].transport[1]: 'ssee' is no choice here; did you mean 'sse'?",
    ),
    (
        "[[route]]\npath = '/a'\ntransport = []\n",
        "penstock.toml:3: route[0].transport: transport must name at least one",
    ),
    (
        "[[route]]\npath = '/a'\ntransport = ['websocket', 'sse']\n",
        "penstock.toml:3: route[0].transport: transport 'websocket' stands alone",
    ),
    (
        "[[route]]\npath = '/a'\ntransport = ['text']\nmethods = ['GET']\n",
        "penstock.toml:4: route[0].methods: 'GET' begins runs for an EventSource only; add 'sse' to transport",
    ),
    (
        "[[route]]\npath = '/a'\ntransport = ['websocket']\nmethods = ['POST']\n",
        "penstock.toml:4: route[0].methods: methods of a WebSocket route can only be ['GET']",
    ),
    ("[[route]]\npath = '/a'\nstages = ['nope']\n", "penstock.toml:3: route[0].stages[0]: no stage is called 'nope'"),
    (
        "[[route]]\npath = '/a'\n[route.limits]\ngop = 1\n",
        "penstock.toml:4: route[0].limits.gop: there is no setting of this name; did you mean 'gap'?",
    ),
    (
        "[[route]]\npath = '/a'\nslow_reader = 'wait'\n",
        "penstock.toml:3: route[0].slow_reader: 'wait' is no choice here; there",
    ),
    (
        "[[route]]\npath = '/a'\non_disconnect = 'stop'\n",
        "penstock.toml:3: route[0].on_disconnect: 'stop' is no choice; there",
    ),
    (
        "[[route]]\npath = '/a'\nmodel = 'fats'\n[models.fast]\ntargets = ['demo']\n",
        "penstock.toml:3: route[0].model: no model is called 'fats'; did you mean 'fast'?",
    ),
    ("[models]\na = 'demo'\n", "penstock.toml:2: models.a: this must be a table"),
    ("[models.a]\n", "penstock.toml:1: models.a: this needs a 'targets'"),
    ("[models.a]\ntargets = 'demo'\n", "penstock.toml:2: models.a.targets: expected a list, got text"),
    (
        "[models.a]\ntargets = ['demo', 'demo']\n",
        "penstock.toml:2: models.a.targets: targets names a model twice",
    ),
    (
        "[models.a]\ntargets = ['demo']\nhedge = true\n",
        "penstock.toml:3: models.a.hedge: a hedge asks a second target, and there is but one; name another",
    ),
    (
        "[models.a]\ntargets = ['demo']\nstrategy = 'wighted'\n",
        "penstock.toml:3: models.a.strategy: 'wighted' is no choice",
    ),
    (
        "[models.a]\nfeatures.tools = true\ntargets = ['demo',\n'http://a/v1#x']\n[targets.'http://a/v1#x'.features]\ntools = false",
        "penstock.toml:3: models.a.targets[1]: 'http://a/v1#x' has no tools, and this model promises it; name another",
    ),
    (
        "[models.a]\ncontext = 9000\ntargets = ['http://a/v1#x']\n[targets.'http://a/v1#x']\ncontext = 8000\n",
        "penstock.toml:3: models.a.targets[0]: 'http://a/v1#x' has a window of 8000 tokens, and this model promises 9000",
    ),
    (
        "[models.a]\ntargets = ['b']\n[models.b]\ntargets = ['demo', 'a']\n",
        "penstock.toml:4: models.b.targets[1]: these names lead in a circle: a → b → a",
    ),
    (
        "[providers.openai]\n[models.a]\ntargets = ['openai/x']\n",
        "penstock.toml:1: providers.openai: this provider wants a key: set OPENAI_API_KEY, or write api_key = ",
    ),
    (
        "[providers.mine]\nbase_url = 'https://api.anthropic.com/'\nkind = 'anthropic'\n",
        "penstock.toml:1: providers.mine: this provider wants a key: set ANTHROPIC_API_KEY, or",
    ),
    (
        "[models.a]\ntargets = ['openai/x']\n",
        "penstock.toml:2: models.a.targets[0]: no provider is called 'openai'; none is",
    ),
    (
        "[models.a]\ntargets = ['locl/x']\n[providers.local]\nbase_url = 'http://a/v1'\n",
        "penstock.toml:2: models.a.targets[0]: no provider is called 'locl'; did you mean 'local/x'?",
    ),
    ("[models.a]\ntargets = ['http://a/v1']\n", "penstock.toml:2: models.a.targets[0]: 'http://a/v1' names no model"),
    ("[models.a]\ntargets = ['x y']\n", "penstock.toml:2: models.a.targets[0]: 'x y' is no model; write 'demo', "),
    ("[providers.a]\n", "penstock.toml:1: providers.a: this needs a 'base_url'"),
    (
        "[providers.a]\nbase_url = 'a'\n",
        "penstock.toml:2: providers.a.base_url: this is no URL of a server; write it like",
    ),
    (
        "[providers.a]\nbase_url = 'http://u:p@a/'\n",
        "penstock.toml:2: providers.a.base_url: a URL must not hold a password",
    ),
    (
        "[providers.a]\nbase_url = 'http://a/?k=1'\n",
        "penstock.toml:2: providers.a.base_url: the URL of a server has no query",
    ),
    ("[providers.'a/b']\nbase_url = 'http://a'\n", "penstock.toml:1: providers.a/b: a provider cannot be called 'a/b'"),
    (
        "[providers.a]\nbase_url = 'http://a/v1'\napi_key = 'env:NOPE'\n",
        "penstock.toml:3: providers.a.api_key: the environment variable NOPE is not set",
    ),
    (
        "[providers.a]\nbase_url = 'http://a/v1'\napi_key = 'file:nope'\n",
        "penstock.toml:3: providers.a.api_key: the file nope cannot be read: No such file or directory",
    ),
    ("[providers.a]\nbase_url = 'http://a/v1'\napi_key = 5\n", "penstock.toml:3: providers.a.api_key: a key is text"),
    ("[demo]\nrate = -1\n", "penstock.toml:2: demo.rate: expected a number >= 0"),
    ("[demo]\ntokens = 'x'\n", "penstock.toml:2: demo.tokens: expected a whole number, got text"),
    ("a = [1\nb = 2\n", "penstock.toml:2:1: this is no TOML: "),
    ("a = 1\na = 2\n", "penstock.toml:2:6: this is no TOML: Cannot overwrite a value"),
]


@pytest.mark.parametrize(
    ("text", "said"),
    MISTAKES,
    ids=[f"{number} {said.split(': ')[1][:40]}" for number, (_, said) in enumerate(MISTAKES, 1)],
)
def test_a_mistake_is_named_with_its_file_line_key_and_the_nearest_name(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        written(text)
    assert str(wrong.value)[: len(said)] == said


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        (
            {"PENSTOCK_HOTS": "x"},
            "environment variable PENSTOCK_HOTS: there is no setting of this name; did you mean 'PENSTOCK_HOST'?",
        ),
        (
            {"PENSTOCK_SERVER__PRT": "1"},
            "environment variable PENSTOCK_SERVER__PRT: there is no setting of this name; did you mean 'PENSTOCK_SERVER__PORT'?",
        ),
        (
            {"PENSTOCK_PORT": "abc"},
            "environment variable PENSTOCK_PORT: server.port: expected a whole number, got text",
        ),
        ({"PENSTOCK_LIMITS__GAP": "5x"}, "environment variable PENSTOCK_LIMITS__GAP: limits.gap: '5x' is no time"),
        (
            {"PENSTOCK_MODELS__A__TARGETS": "[1"},
            "environment variable PENSTOCK_MODELS__A__TARGETS: this is no TOML value",
        ),
        (
            {"PENSTOCK_ROUTE__0__PATH": "/a"},
            "environment variable PENSTOCK_ROUTE__0__PATH: there is no setting of this name",
        ),
        ({"PENSTOCK_CONFIG": "nope.toml"}, "PENSTOCK_CONFIG: there is no file nope.toml"),
        ({"OPENAI_BASE_URL": "localhost:1"}, "environment variable OPENAI_BASE_URL: this is no URL of a server"),
        (
            {"PENSTOCK_INSECURE": "maybe"},
            "environment variable PENSTOCK_INSECURE: server.insecure: expected true or false",
        ),
    ],
)
def test_a_mistake_in_a_variable_names_the_variable(environ: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        load(environ)
    assert str(wrong.value)[: len(said)] == said


def test_a_mistake_in_a_flag_names_the_flag() -> None:
    with pytest.raises(ConfigError, match=r"^--log-level: log\.level: 'loud' is no choice here"):
        load({}, flags={("log", "level"): "loud"})
    with pytest.raises(ConfigError, match=r"^--config: there is no file nope\.toml"):
        load({}, file=Path("nope.toml"))


def test_a_file_that_is_no_text_is_named(folder: Path) -> None:
    (folder / "penstock.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"^penstock\.toml: the file is not UTF-8 text$"):
        load({})


def test_a_file_that_may_not_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "penstock.toml").touch()

    def denied(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(ConfigError, match=r"^penstock\.toml: the file cannot be read: Permission denied$"):
        load({})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "box.example", "2001:db8::1"])
def test_listening_beyond_this_machine_needs_a_decision(host: str) -> None:
    with pytest.raises(ConfigError, match=r"can be reached from other machines.*--insecure"):
        load({"PENSTOCK_HOST": host})
    assert load({"PENSTOCK_HOST": host, "PENSTOCK_INSECURE": "true"}).server.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    assert is_loopback(host)
    assert load({"PENSTOCK_HOST": host}).server.host == host


@pytest.mark.parametrize(
    "key", ["api_key = 'sk-canary'\nkind = 'x'", "api_key = ['sk-canary']", "kind = 'x'\napi_key = 'sk-canary'"]
)
def test_no_complaint_holds_a_key(key: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        written(f"[providers.a]\nbase_url = 'http://a/v1'\n{key}\n")
    assert "canary" not in str(wrong.value)
