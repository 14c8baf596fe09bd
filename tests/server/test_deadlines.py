"""How long a provider is waited for, by the model's own limits and by those a request sets for itself."""

from __future__ import annotations

import json

import httpx2
import pytest

from penstock.core.errors import Refused
from penstock.flow.policy import TimeLimits
from penstock.server.deadlines import limited
from tests.server.reading import PROMPT, event_stream
from tests.serving import Served

LIMITS = TimeLimits()


def test_a_request_may_be_less_patient_than_the_server() -> None:
    given = limited(LIMITS, "first_token=10, gap=2.5,total=60")
    assert (given.first_token, given.gap, given.total, given.stall) == (10.0, 2.5, 60.0, LIMITS.stall)
    assert limited(LIMITS, "") == LIMITS


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("gap=121", "gap is a number of seconds from 0.01 to 120 here, not '121'"),
        ("gap=0", "gap is a number of seconds from 0.01 to 120 here, not '0'"),
        ("gap=nan", "gap is a number of seconds"),
        ("gap=soon", "gap is a number of seconds"),
        ("gap", "gap is a number of seconds"),
        ("stall=1", "'stall=1' is no limit, or is there twice; there are first_token, gap, total"),
        ("gap=1,gap=2", "'gap=2' is no limit, or is there twice"),
    ],
)
def test_what_is_no_limit_or_more_than_there_is_is_refused(header: str, said: str) -> None:
    with pytest.raises(Refused) as refused:
        limited(LIMITS, header)
    assert refused.value.fault.param == "Penstock-Timeout"
    assert said in refused.value.fault.message


@pytest.mark.parametrize(
    ("header", "spoken", "seconds", "code"),
    [
        ("first_token=5", False, 6, "first_token_timeout"),
        ("gap=5", True, 6, "gap_timeout"),
        ("total=9", True, 10, "total_timeout"),
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
        served.tick(seconds)
        last = json.loads((await stream.rest())[-1].data)
    assert (last["type"], last["error"]["code"]) == ("failed", code)


async def test_a_limit_that_is_none_is_told_in_the_words_of_the_dialect(client: httpx2.AsyncClient) -> None:
    refused = await client.post("/v1/chat/completions", json=PROMPT, headers={"Penstock-Timeout": "x=1"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "Penstock-Timeout")
