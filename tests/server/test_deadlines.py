"""How long a provider is waited for, by the model's own limits and by those a request sets for itself."""

from __future__ import annotations

import json
import socket

import httpx2
import pytest

from penstock.config.bounds import TimeLimits as Limits
from penstock.config.model import Config
from penstock.config.models import ModelConfig, ModelLimits
from penstock.config.units import Seconds
from penstock.core.errors import Refused
from penstock.flow.policy import TimeLimits
from penstock.server.deadlines import limited
from tests.server.reading import PROMPT, event_stream, websocket
from tests.serving import Served, configured, serving

LIMITS = TimeLimits()


def test_a_request_may_be_less_patient_than_the_server() -> None:
    given = limited(LIMITS, "connect=1,first_token=10, gap=2.5,total=60, floor=3")
    assert (given.connect, given.first_token, given.gap, given.total, given.floor) == (1.0, 10.0, 2.5, 60.0, 3.0)
    assert given.stall == LIMITS.stall
    assert limited(LIMITS, "") == LIMITS


def test_a_limit_that_is_what_it_would_have_been_is_not_the_request_s_own() -> None:
    assert limited(LIMITS, f"gap={LIMITS.gap},floor=9,connect=1").own == {"throughput_timeout", "connect_timeout"}


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("gap=121", "gap is a number of seconds from 0.01 to 120 here, not '121'"),
        ("gap=0", "gap is a number of seconds from 0.01 to 120 here, not '0'"),
        ("gap=nan", "gap is a number of seconds"),
        ("gap=soon", "gap is a number of seconds"),
        ("gap", "gap is a number of seconds"),
        ("connect=5.1", "connect is a number of seconds from 0.01 to 5 here, not '5.1'"),
        ("floor=1", "floor is a number of tokens a second from 2 to 10000 here, not '1'"),
        ("floor=10001", "floor is a number of tokens a second"),
        ("stall=1", "'stall=1' is no limit, or is there twice; there are connect, first_token, gap, total, floor"),
        ("gap=1,gap=2", "'gap=2' is no limit, or is there twice"),
    ],
)
def test_what_is_no_limit_or_more_than_there_is_is_refused(header: str, said: str) -> None:
    with pytest.raises(Refused) as refused:
        limited(TimeLimits(floor=2.0), header)
    assert refused.value.fault.param == "Penstock-Timeout"
    assert said in refused.value.fault.message


@pytest.mark.parametrize(
    ("header", "spoken", "seconds", "code"),
    [
        ("first_token=5", False, 6, "first_token_timeout"),
        ("gap=5", True, 6, "gap_timeout"),
        ("total=9", True, 10, "total_timeout"),
        ("floor=5", True, 11, "throughput_timeout"),
    ],
)
async def test_a_run_goes_by_the_limits_of_its_request(
    served: Served, client: httpx2.AsyncClient, header: str, spoken: bool, seconds: int, code: str
) -> None:
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT, headers={"Penstock-Timeout": header}) as stream:
        telling = await served.telling()
        if spoken:
            telling.speak("a")
            assert [(await stream.value())["type"] for _ in range(3)][-1] == "delta"
            served.tick(0)
        served.tick(seconds)
        last = json.loads((await stream.rest())[-1].data)
    assert (last["type"], last["error"]["code"]) == ("failed", code)


async def test_the_handshake_of_a_websocket_sets_the_limits_of_its_runs(served: Served) -> None:
    async with websocket(served.ws_url, additional_headers={"Penstock-Timeout": "gap=5"}) as socket:
        await socket.start("1")
        telling = await served.telling()
        telling.speak("a")
        await socket.until("delta")
        served.tick(6)
        failed = (await socket.until("failed"))[-1]
        assert failed["error"]["code"] == "gap_timeout"
    async with websocket(served.ws_url, additional_headers={"Penstock-Timeout": "gap=999"}) as socket:
        refused = await socket.ask(type="start", ref="1", request=PROMPT)
        assert (refused["code"], refused["param"]) == ("invalid_request", "Penstock-Timeout")


@pytest.mark.parametrize("whose", ["request", "model", "server"])
async def test_a_provider_has_so_long_to_be_connected_to(whose: str) -> None:
    hurried = Seconds(0.05)
    model = ModelLimits(connect=hurried) if whose == "model" else ModelLimits()
    limits = Limits(connect=hurried) if whose == "server" else Limits()
    headers = {"Penstock-Timeout": "connect=0.05"} if whose == "request" else {}
    with socket.create_server(("127.0.0.1", 0)) as mute:  # it takes connections, and never says a word of TLS
        target = f"https://127.0.0.1:{mute.getsockname()[1]}/v1#a"
        config = Config(models={"mute": ModelConfig(targets=(target,), limits=model)}, limits=limits)
        async with serving(configured(config)) as served, served.client() as client:
            body = {"model": "mute", "messages": [{"role": "user", "content": "hi"}]}
            told = await client.post("/v1/chat/completions", json=body, headers=headers)
    assert (told.status_code, told.json()["error"]["code"]) == (504, "connect_timeout")
    assert "no connection within 0.05 s" in told.json()["error"]["message"]


ASKED: dict[str, dict[str, object]] = {
    "/v1/chat/completions": PROMPT,
    "/v1/chat/stream": PROMPT,
    "/v1/chat/chunked": PROMPT,
    "/v1/streams": PROMPT,
    "/v1/completions": {"prompt": "hi"},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    "/v1/chat/ui": {"id": "c", "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]},
    "/api/chat": {"message": "hi"},
}


@pytest.mark.parametrize("path", ASKED)
async def test_a_limit_that_is_none_is_told_in_the_words_of_the_dialect(
    served: Served, client: httpx2.AsyncClient, path: str
) -> None:
    refused = await client.post(path, json=ASKED[path], headers={"Penstock-Timeout": "gap=999"})
    assert refused.status_code == 400
    assert "gap is a number of seconds from 0.01 to 120 here" in refused.text
    assert not served.runs.by_id
    match path:
        case "/v1/chat/completions" | "/v1/completions" | "/v1/responses":
            assert refused.json()["error"]["param"] == "Penstock-Timeout"
        case "/v1/messages":
            assert (refused.json()["type"], refused.json()["error"]["type"]) == ("error", "invalid_request_error")
        case "/api/chat":
            assert refused.json()["error_code"] == "INVALID_REQUEST"
        case "/v1/chat/ui":
            assert refused.headers["content-type"].startswith(("text/plain", "application/"))
        case _:
            assert refused.json()["error"]["code"] == "invalid_request"
