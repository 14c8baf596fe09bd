"""What `/v1/models` says of the models, to every client that asks for it in its own way."""

from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import msgspec
import pytest

from penstock.assembly import build, reload
from penstock.config.model import AuthConfig, Config, ProviderConfig
from penstock.config.models import Features, ModelConfig
from penstock.config.units import Secret
from penstock.core.events import Closed, Finished, Usage
from penstock.telemetry.pace import Pace
from tests.contract.validate import check_value
from tests.server.keyed import ALICE, bearer
from tests.server.reading import PROMPT
from tests.serving import MODEL, Served, serving

MODELS = {
    "fast": ModelConfig(targets=("acme/org/small-1",), features=Features(tools=True, images=False), context=8000),
    "local": ModelConfig(targets=("http://127.0.0.1:1/v1#qwen",)),
    "team/best": ModelConfig(targets=("acme/large",)),
}
CONFIG = Config(models=MODELS, providers={"acme": ProviderConfig(base_url="http://127.0.0.1:1/v1")})
UNKNOWN = dict.fromkeys(("tools", "reasoning", "images", "audio", "prefill", "structured", "embeddings"))
NAMES = [MODEL, "fast", "local", "team/best"]


@pytest.fixture
async def named() -> AsyncGenerator[Served]:
    async with serving(CONFIG) as served:
        yield served


@pytest.fixture
async def asking(named: Served) -> AsyncGenerator[httpx2.AsyncClient]:
    async with named.client() as client:
        yield client


async def test_one_body_has_what_every_client_looks_for(asking: httpx2.AsyncClient) -> None:
    body = (await asking.get("/v1/models")).json()
    assert [each["id"] for each in body["data"]] == NAMES
    assert (body["object"], body["has_more"], body["first_id"], body["last_id"]) == ("list", False, MODEL, "team/best")
    fast = body["data"][1]
    assert fast == {
        "id": "fast",
        "object": "model",
        "type": "model",
        "display_name": "fast",
        "created": 0,
        "created_at": "1970-01-01T00:00:00Z",
        "owned_by": "acme",
        "provider": "acme",
        "targets": ["acme/org/small-1"],
        "features": {**UNKNOWN, "tools": True, "images": False},
        "context": 8000,
        "measured": None,
    }
    assert (await asking.get("/v1/models/fast")).json() == fast


async def test_what_nobody_said_of_a_model_is_null_and_its_address_is_nobodys_business(
    asking: httpx2.AsyncClient,
) -> None:
    answer = await asking.get("/v1/models/local")
    assert (answer.json()["features"], answer.json()["targets"]) == (UNKNOWN, ["qwen"])
    assert answer.json()["context"] is None
    assert "127.0.0.1" not in answer.text


async def test_names_may_hold_slashes(asking: httpx2.AsyncClient) -> None:
    for path in ("/v1/models/team/best", "/v1/models/team%2Fbest", "/models/team/best/"):
        assert (path, (await asking.get(path)).json()["id"]) == (path, "team/best")


@pytest.mark.parametrize(
    ("query", "names", "more"),
    [
        ("limit=2", NAMES[:2], True),
        ("limit=1000", NAMES, False),
        (f"after_id={MODEL}&limit=2", NAMES[1:3], True),
        ("after_id=local", NAMES[3:], False),
        ("after_id=team/best", [], False),
        ("before_id=local&limit=1", NAMES[1:2], True),
        ("before_id=local", NAMES[:2], False),
    ],
)
async def test_pages_are_anthropics(asking: httpx2.AsyncClient, query: str, names: list[str], more: bool) -> None:
    body = (await asking.get(f"/v1/models?{query}")).json()
    ends = (names[0], names[-1]) if names else (None, None)
    assert ([each["id"] for each in body["data"]], body["has_more"]) == (names, more)
    assert (body["first_id"], body["last_id"]) == ends


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=many", "limit"),
        ("after_id=nobody", "after_id"),
        ("after_id=fast&before_id=local", "before_id"),
        ("page=2", "page"),
    ],
)
async def test_a_page_that_cannot_be_is_refused_by_name(asking: httpx2.AsyncClient, query: str, param: str) -> None:
    answer = await asking.get(f"/v1/models?{query}")
    check_value("openai-chat", answer.json(), "refusal")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_an_unknown_model_is_404_in_openais_words(asking: httpx2.AsyncClient) -> None:
    answer = await asking.get("/v1/models/nobody/knows")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (404, "unknown_model", "model")


async def test_a_client_of_anthropic_is_answered_and_refused_in_its_words(asking: httpx2.AsyncClient) -> None:
    headers = {"anthropic-version": "2023-06-01"}
    listed = await asking.get("/v1/models?limit=1", headers=headers)
    assert listed.headers["request-id"] == listed.headers["x-request-id"]
    for path, status, kind in (
        ("/v1/models/nobody", 404, "not_found_error"),
        ("/v1/models?limit=0", 400, "invalid_request_error"),
    ):
        answer = await asking.get(path, headers=headers)
        check_value("anthropic", answer.json(), "refusal")
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
        assert answer.headers["request-id"] == answer.json()["request_id"]


async def test_how_fast_a_model_is_comes_from_its_last_answers(named: Served, asking: httpx2.AsyncClient) -> None:
    async with asking.stream("POST", "/v1/streams", json=PROMPT) as stream:
        telling = await named.telling()
        telling.begin()
        telling.speak("a", "b")
        telling.say(Closed(0), Usage(5, 1, "reported"), Finished())
        await stream.aread()
    measured = (await asking.get(f"/v1/models/{MODEL}")).json()["measured"]
    assert (measured["answers"], measured["tokens_per_second"]) == (1, None)
    assert measured["time_to_first_token"] >= 0


async def test_a_key_sees_the_models_it_may_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    config = msgspec.structs.replace(CONFIG, auth=AuthConfig(api_keys=Secret(f"alice:{ALICE}")))
    async with serving(config) as served, served.client(headers=bearer(ALICE)) as client:
        enter = served.app.service.gate.enter

        async def narrowly(*given: Any) -> Any:
            return msgspec.structs.replace(await enter(*given), models=("fast", "team/*"))

        monkeypatch.setattr(served.app.service.gate, "enter", narrowly)
        body = (await client.get("/v1/models")).json()
        assert [each["id"] for each in body["data"]] == ["fast", "team/best"]
        assert (await client.get("/v1/models/local")).status_code == 404


async def test_a_reload_keeps_what_was_measured_of_the_models_that_stay() -> None:
    app = build(CONFIG)
    pace = app.service.pace
    reload(app, msgspec.structs.replace(CONFIG, models={"fast": MODELS["fast"]}))
    assert isinstance(pace, Pace)
    assert app.service.pace is pace
    assert pace.models == {"fast", "demo"}
    await app.close()
