"""Where settings come from, which of them wins, and what is said of those that cannot be."""

import errno
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from penstock import registry
from penstock.config.errors import ConfigError
from penstock.config.load import is_loopback, load
from penstock.config.locate import Key
from penstock.config.model import Config
from penstock.config.routes import DEFAULT_ROUTES
from penstock.config.units import OnDisconnect, Secret


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(text: str, environ: Mapping[str, str] | None = None, flags: Mapping[Key, object] | None = None) -> Config:
    Path("penstock.toml").write_text(dedent(text))
    return load(environ or {}, flags=flags, names=registry.names)


# -- which wins ------------------------------------------------------------------------------------------------------


def test_without_anything_there_are_the_defaults() -> None:
    assert load({}) == Config()


def test_the_file_wins_over_the_defaults_the_environment_over_the_file_and_flags_over_all() -> None:
    text = "[server]\nport = 1\nmax_runs = 1\nretry_ms = 1\nheartbeat = '1s'\n"
    environ = {"PENSTOCK_SERVER__PORT": "2", "PENSTOCK_SERVER__MAX_RUNS": "2", "PENSTOCK_SERVER__RETRY_MS": "2"}
    server = written(text, environ, {("server", "port"): 3, ("server", "retry_ms"): 3}).server
    assert (server.port, server.max_runs, server.retry_ms, server.heartbeat, server.drain) == (3, 2, 3, 1.0, 25.0)


def test_of_two_variables_the_long_name_wins() -> None:
    assert load({"PENSTOCK_PORT": "1", "PENSTOCK_SERVER__PORT": "2"}).server.port == 2
    assert load({"PENSTOCK_PORT": "1"}).server.port == 1


def test_port_alone_is_for_when_nobody_else_says_one() -> None:
    assert load({"PORT": "9"}).server.port == 9
    assert load({"PORT": "9", "PENSTOCK_PORT": "1"}).server.port == 1
    assert written("[server]\nport = 2", {"PORT": "9"}).server.port == 2


def test_the_file_is_the_one_of_the_flag_else_of_the_variable_else_here(folder: Path) -> None:
    for number, name in enumerate(("flag.toml", "variable.toml", "penstock.toml"), 1):
        (folder / name).write_text(f"[server]\nport = {number}\n")
    environ = {"PENSTOCK_CONFIG": "variable.toml"}
    assert load(environ, file=Path("flag.toml")).server.port == 1
    assert load(environ).server.port == 2
    assert load({}).server.port == 3


def test_variables_reach_tables_with_names_lists_and_every_kind_of_value() -> None:
    config = load(
        {
            "PENSTOCK_PROVIDERS__LOCAL__BASE_URL": "http://127.0.0.1:1/v1/",
            "PENSTOCK_MODELS__FAST__TARGETS": '["local/qwen"]',
            "PENSTOCK_DEMO__RATE": "12.5",
            "PENSTOCK_DEMO__REASONING": "false",
            "PENSTOCK_DEMO__TOKENS": "7",
            "PENSTOCK_LIMITS__GAP": "5m",
            "PENSTOCK_BOUNDS__HIGH": "128KiB",
            "PENSTOCK_LOG_LEVEL": "debug",
        }
    )
    assert config.providers["local"].base_url == "http://127.0.0.1:1/v1/"
    assert config.models["fast"].targets == ("local/qwen",)
    assert (config.demo.rate, config.demo.reasoning, config.demo.tokens) == (12.5, False, 7)
    assert (config.limits.gap, config.bounds.high, config.log.level) == (300.0, 131072, "debug")


def test_the_addresses_that_kubernetes_puts_in_the_environment_are_not_ours() -> None:
    service = {
        "PENSTOCK_PORT": "tcp://10.0.0.1:8420",
        "PENSTOCK_PORT_8420_TCP_ADDR": "10.0.0.1",
        "PENSTOCK_SERVICE_HOST": "10.0.0.1",
        "PENSTOCK_SERVICE_PORT": "8420",
    }
    assert load(service) == Config()


# -- routes ----------------------------------------------------------------------------------------------------------


def test_a_route_replaces_the_one_with_its_path_and_a_new_path_is_added() -> None:
    config = written(
        """
        [[route]]
        path = "/api/chat"
        dialect = "openai-chat"

        [[route]]
        path = "/mine"
        transport = ["ndjson", "text"]
        """
    )
    routes = {route.path: route for route in config.route}
    assert list(routes) == [*(route.path for route in DEFAULT_ROUTES), "/mine"]
    assert (routes["/api/chat"].dialect, routes["/mine"].transport) == ("openai-chat", ("ndjson", "text"))
    assert [routes[route.path] for route in DEFAULT_ROUTES if route.path != "/api/chat"] == [
        route for route in DEFAULT_ROUTES if route.path != "/api/chat"
    ]


def test_the_limits_of_a_route_lie_over_those_of_all() -> None:
    config = written(
        """
        [limits]
        gap = 7
        total = 70

        [[route]]
        path = "/slow"
        limits = { total = "2h" }
        [route.bounds]
        high = "1MiB"
        """
    )
    route = config.route[-1]
    assert route.limits is not None
    assert route.bounds is not None
    assert (route.limits.gap, route.limits.total, config.limits.total) == (7.0, 7200.0, 70.0)
    assert (route.bounds.high, route.bounds.low, config.bounds.high) == (2**20, 2**15, 2**16)


def test_a_websocket_route_is_a_get_and_others_are_posts() -> None:
    config = written("[[route]]\npath = '/a'\ntransport = ['websocket']\n[[route]]\npath = '/b'\n")
    assert [route.methods for route in config.route[-2:]] == [("GET",), ("POST",)]


def test_on_disconnect_has_two_ways_to_be_written() -> None:
    config = written("[[route]]\npath='/a'\non_disconnect='grace:5s'\n[[route]]\npath='/b'\non_disconnect={grace=5}\n")
    assert [route.on_disconnect for route in config.route[-2:]] == [OnDisconnect("grace", 5)] * 2


# -- models and providers --------------------------------------------------------------------------------------------


def test_providers_are_found_by_their_usual_variables() -> None:
    config = load({"OPENAI_API_KEY": "sk-1", "MISTRAL_API_KEY": "m", "OLLAMA_HOST": "0.0.0.0", "GROQ_API_KEY": ""})
    assert {name: (it.base_url, it.api_key) for name, it in config.providers.items()} == {
        "openai": ("https://api.openai.com/v1", Secret("sk-1")),
        "mistral": ("https://api.mistral.ai/v1", Secret("m")),
        "ollama": ("http://127.0.0.1:11434", None),
    }


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_a_server_of_ones_own_needs_no_key(name: str) -> None:
    provider = load({f"{name.upper()}_BASE_URL": "http://127.0.0.1:8081/v1"}).providers[name]
    assert (provider.base_url, provider.api_key, provider.kind) == ("http://127.0.0.1:8081/v1", None, name)


def test_a_provider_speaks_what_its_name_says_unless_its_kind_says_otherwise() -> None:
    environ = {"ANTHROPIC_API_KEY": "sk-ant", "OLLAMA_HOST": "box", "GEMINI_API_KEY": "g"}
    assert {name: it.kind for name, it in load(environ).providers.items()} == {
        "anthropic": "anthropic",
        "gemini": "openai",
        "ollama": "ollama",
    }
    providers = written(
        "[providers.anthropic]\nbase_url = 'https://gateway/anthropic'\n"
        "[providers.ollama]\nbase_url = 'http://box:11434/v1'\nkind = 'openai'\n"
        "[providers.mine]\nbase_url = 'http://box:1'\nkind = 'anthropic'\n"
        "[providers.gemini]\n"
    ).providers
    assert {name: it.kind for name, it in providers.items()} == {
        "anthropic": "anthropic",
        "ollama": "openai",
        "mine": "anthropic",
        "gemini": "openai",
    }


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("box", "http://box:11434"),
        ("box:1", "http://box:1"),
        (":1", "http://127.0.0.1:1"),
        ("https://box/", "https://box"),
        ("[::1]", "http://[::1]:11434"),
        ("[::]:1", "http://127.0.0.1:1"),
    ],
)
def test_ollama_is_found_in_every_form_it_is_written(host: str, url: str) -> None:
    assert load({"OLLAMA_HOST": host}).providers["ollama"].base_url == url


def test_a_key_from_the_environment_goes_to_the_usual_address_only() -> None:
    environ = {"OPENAI_API_KEY": "sk-env", "MISTRAL_API_KEY": "m-env"}
    providers = written(
        "[providers.openai]\nbase_url = 'http://elsewhere/v1'\n[providers.mistral]\n", environ
    ).providers
    assert (providers["openai"].api_key, providers["mistral"].api_key) == (None, Secret("m-env"))
    assert providers["mistral"].base_url == "https://api.mistral.ai/v1"


def test_a_known_provider_needs_a_key_alone() -> None:
    provider = written("[providers.groq]\napi_key = 'env:MY_KEY'\n", {"MY_KEY": " gsk "}).providers["groq"]
    assert (provider.base_url, provider.api_key) == ("https://api.groq.com/openai/v1", Secret("gsk"))


def test_a_key_may_stand_in_a_file_beside_the_configuration(folder: Path) -> None:
    (folder / "etc").mkdir()
    (folder / "etc" / "key").write_text("sk-file\n")
    (folder / "etc" / "penstock.toml").write_text("[providers.a]\nbase_url='http://a/v1'\napi_key='file:key'\n")
    assert load({}, file=Path("etc/penstock.toml")).providers["a"].api_key == Secret("sk-file")


def test_the_default_model_is_the_one_said_else_the_first_alias_else_the_demo() -> None:
    models = "[models.b]\ntargets = ['demo']\n[models.a]\ntargets = ['demo']\n"
    assert load({}).default_model == "demo"
    assert written(models).default_model == "b"
    assert written(models, {"PENSTOCK_MODEL": "a"}).default_model == "a"


def test_a_model_given_by_its_address_gets_a_name_that_does_not_tell_it() -> None:
    config = load({}, flags={("server", "model"): "http://127.0.0.1:8081/v1#qwen3"})
    assert (config.default_model, config.models["qwen3"].targets) == ("qwen3", ("http://127.0.0.1:8081/v1#qwen3",))
    config = written("[[route]]\npath = '/mine'\nmodel = 'package.module:answer'\n")
    assert (config.route[-1].model, config.models["answer"].targets) == ("answer", ("package.module:answer",))


# -- mistakes --------------------------------------------------------------------------------------------------------

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
