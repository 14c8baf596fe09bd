"""Where settings come from, and which of them wins."""

from pathlib import Path

import pytest

from penstock.config.load import load
from penstock.config.model import Config
from penstock.config.routes import DEFAULT_ROUTES
from penstock.config.units import OnDisconnect, Secret
from tests.config.writing import written

pytestmark = pytest.mark.usefixtures("folder")

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
        "[providers.gemini]\napi_key = 'g'\n"
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
