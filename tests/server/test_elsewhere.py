"""Base URLs as clients write them lead where they mean to, and what an API has that is not served is refused in its own words."""

import httpx2
import pytest
from websockets.exceptions import InvalidStatus

from penstock.registry import names
from penstock.server.elsewhere import FAMILIES, meant
from tests.contract.validate import check_value
from tests.server.keyed import ALICE, bearer, keyed
from tests.server.reading import websocket
from tests.serving import Served

ASKED = {"messages": [{"role": "user", "content": "Hello"}], "model": "nobody"}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions/",
        "//v1/chat/completions",
        "/v1//chat///completions//",
        "/chat/completions",
        "/chat/completions/",
        "/v1/v1/chat/completions",
        "/v1/v1/v1/chat/completions",
        "/v1//v1/chat/completions",
    ],
)
async def test_a_path_is_found_however_its_base_url_was_written(
    served: Served, client: httpx2.AsyncClient, path: str
) -> None:
    answer = await client.post(served.url + path, json=ASKED)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_model")


async def test_every_route_is_found_without_its_version(served: Served, client: httpx2.AsyncClient) -> None:
    for route in served.app.service.routes:
        if "POST" in route.methods and route.path.startswith("/v1/"):
            exact = await client.post(route.path, content=b"{}", headers={"x-request-id": "r"})
            short = await client.post(route.path.removeprefix("/v1"), content=b"{}", headers={"x-request-id": "r"})
            assert (route.path, short.status_code, short.content) == (route.path, exact.status_code, exact.content)
    assert (await client.get("/models")).json() == (await client.get("/v1/models/")).json()
    assert (await client.get("/streams/")).json() == {"streams": []}


@pytest.mark.parametrize("path", ["/v1/chat/ws/", "//v1/chat//ws", "/chat/ws", "/v1/v1/chat/ws"])
async def test_so_is_a_websocket(served: Served, client: httpx2.AsyncClient, path: str) -> None:
    async with websocket(served.ws_url.replace("/v1/chat/ws", path)) as socket:
        assert (await socket.ask(type="ping", ref="1"))["type"] == "pong"
    assert (await client.get(served.url + path)).status_code == 426


@pytest.mark.parametrize("path", ["/responses", "/v1/responses/", "//v1//responses", "/v1/v1/responses"])
async def test_so_is_the_websocket_of_responses(served: Served, path: str) -> None:
    async with websocket(served.ws_url.replace("/v1/chat/ws", path)) as socket:
        assert (await socket.ask(type="unheard.of"))["type"] == "error"


async def test_a_websocket_that_is_nowhere_is_told_where_there_is_one(served: Served) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with websocket(served.ws_url.replace("/chat/ws", "/nowhere")):
            pass
    assert refused.value.response.status_code == 404
    assert b"/v1/chat/ws" in (refused.value.response.body or b"")


async def test_a_key_is_wanted_by_whatever_name_a_path_goes() -> None:
    async with keyed() as (served, client):
        for path in ("/v1/models", "/models", "//v1/models/", "/v1/files"):
            assert (path, (await client.get(served.url + path)).status_code) == (path, 401)
        assert (await client.get(f"{served.url}//models", headers=bearer(ALICE))).status_code == 200


def test_a_path_that_is_served_means_nothing_else() -> None:
    assert meant("/v1/models", []) is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/files"),
        ("GET", "/v1/files/file-1/content"),
        ("POST", "/v1/audio/speech"),
        ("POST", "/v1/audio/transcriptions"),
        ("POST", "/v1/images/generations"),
        ("POST", "/v1/moderations"),
        ("GET", "/v1/batches"),
        ("POST", "/v1/assistants"),
        ("DELETE", "/v1/vector_stores/vs_1"),
        ("POST", "/v1/fine_tuning/jobs"),
        ("POST", "/audio/speech"),
        ("GET", "/v1/chat/completions/chatcmpl-1"),
        ("POST", "/v1/conversations"),
    ],
)
async def test_what_openai_has_and_is_not_served_is_404_in_its_words_naming_what_is(
    client: httpx2.AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(method, path)
    check_value("openai-chat", answer.json(), "refusal")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (404, "route_not_found", "invalid_request_error")
    assert answer.headers["x-should-retry"] == "false"
    assert "/v1/chat/completions" in error["message"]


async def test_a_method_that_a_path_does_not_take_is_told_with_the_path_it_was_read_as(
    client: httpx2.AsyncClient,
) -> None:
    answer = await client.post("/v1/responses/resp_1", json={"model": "nobody", "input": "Hello"})
    check_value("openai-responses", answer.json(), "refusal")
    assert answer.status_code == 405
    assert answer.json()["error"]["message"] == "POST is not allowed at /v1/responses/{answer}; GET, DELETE are"


async def test_an_operation_beside_the_answers_that_is_not_served_is_no_answer(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/responses/compact", json={"model": "demo", "input": "Hello"})
    check_value("openai-chat", answer.json(), "refusal")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (404, "route_not_found")
    assert error["message"] == "nothing is served at /v1/responses/compact; did you mean /v1/responses?"


async def test_embeddings_are_among_what_is_named(client: httpx2.AsyncClient) -> None:
    message = (await client.post("/v1/audio/speech")).json()["error"]["message"]
    assert "/v1/embeddings" in message
    assert "GET /v1/models" in message


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/messages/batches", {}),
        ("/v1/messages/batches/msgbatch_1/results", {}),
        ("/v1/complete", {}),
        ("/v1/files", {"anthropic-version": "2023-06-01"}),
    ],
)
async def test_what_anthropic_has_and_is_not_served_is_404_in_its_words(
    client: httpx2.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    answer = await client.post(path, headers=headers, content=b"{}")
    body = answer.json()
    assert (answer.status_code, body["type"], body["error"]["type"]) == (404, "error", "not_found_error")
    assert answer.headers["request-id"] == body["request_id"]
    assert "/v1/" in body["error"]["message"].partition(";")[2]


async def test_what_belongs_to_no_api_is_a_problem_as_before(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/v1/nothing")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "route_not_found"


def test_every_family_speaks_a_dialect_that_there_is() -> None:
    assert set(FAMILIES.values()) <= set(names("dialects"))
