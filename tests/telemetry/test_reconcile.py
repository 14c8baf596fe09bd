"""The figures of a real server add up, in the middle of everything and at its end: what began has ended, or goes on.

Plans say how each client begins and what becomes of it; what the page must show follows from the plans.
"""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

import httpx2
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from penstock.config.bounds import TimeLimits
from penstock.config.model import Config
from penstock.config.units import Seconds
from penstock.flow.reader import Reader
from tests.server.reading import PROMPT, websocket
from tests.serving import Served, Telling, configured, serving
from tests.telemetry.pages import Page, scraped
from tests.waiting import until

ACCEPT = {"sse": "text/event-stream", "ndjson": "application/x-ndjson", "text": "text/plain"}
FATES = {
    "finish": "completed",
    "fail": "upstream_error",
    "break": "server_error",
    "cancel": "cancelled",
    "leave": "client_gone",
}
"""What becomes of a run, and what it is counted as."""


@dataclass(frozen=True)
class Plan:
    """One client: how it reads, how many words it hears, what becomes of its run, and how many readers join it."""

    transport: str
    words: int
    fate: str
    companions: int


PLANS = st.builds(
    Plan,
    transport=st.sampled_from(["sse", "ndjson", "text", "websocket", "json"]),
    words=st.integers(0, 3),
    fate=st.sampled_from(list(FATES)),
    companions=st.integers(0, 2),
)


class Client:
    """One plan being carried out."""

    def __init__(self, served: Served, http: httpx2.AsyncClient, plan: Plan, number: int):
        self.plan = plan
        self.served = served
        self.http = http
        self.number = number
        self.telling: Telling
        self.run = ""
        self._reading: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Ask, and have the words said; everybody is attached when this is over."""
        self._reading.append(asyncio.ensure_future(self._read()))
        self.telling = await self.served.telling(self.number)
        self.run = self.telling.run.id
        self.telling.begin()
        self.telling.speak(*["word "] * self.plan.words)
        for _ in range(self.plan.companions):
            self._reading.append(asyncio.ensure_future(self._join()))
        log = self.served.run(self.run).log
        everybody = 1 + self.plan.companions
        await until("everybody is attached", lambda: len(log.readers) == everybody)
        await until("everything was said and taken", lambda: log.last == 2 + self.plan.words and _taken(log.readers))

    async def _read(self) -> None:
        if self.plan.transport == "websocket":
            async with websocket(self.served.ws_url) as socket:
                await socket.send(type="start", ref="1", request=PROMPT)
                while (await socket.next())["type"] not in ("finished", "failed", "cancelled"):
                    pass
            return
        body = {**PROMPT, "stream": self.plan.transport != "json"}
        headers = {"accept": ACCEPT.get(self.plan.transport, "*/*")}
        await self._drained("POST", "/v1/streams", json=body, headers=headers)

    async def _join(self) -> None:
        await self._drained("GET", f"/v1/streams/{self.run}/events", headers={"accept": ACCEPT["ndjson"]})

    async def _drained(self, method: str, path: str, **options: object) -> None:
        with suppress(httpx2.RemoteProtocolError):  # bare text has no other word for an answer that broke off
            async with self.http.stream(method, path, **options) as response:  # type: ignore[arg-type]
                async for _ in response.aiter_raw():
                    pass

    async def end(self) -> None:
        """What was planned becomes of it, and everybody has gone when this is over."""
        match self.plan.fate:
            case "finish":
                self.telling.finish()
            case "fail":
                self.telling.fail("provider_truncated")
            case "break":
                self.telling.say(RuntimeError("a bug of the source"))
            case "cancel":
                await self.http.delete(f"/v1/streams/{self.run}")
            case "leave":
                for reading in self._reading:
                    reading.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)
        handle = self.served.run(self.run)
        if self.plan.fate == "leave":
            await until("nobody is left", lambda: not handle.log.readers)
            self.served.tick(61)  # beyond the grace they have
        await until("it has ended, and nobody reads", lambda: handle.pump.ended is not None and not handle.log.readers)
        await until("its source has closed", lambda: not handle.pump.closing)


def _taken(readers: list[Reader]) -> bool:
    return all(reader.owed == 0 for reader in readers)


def check(page: Page, plans: list[Plan], ended: list[Plan]) -> None:
    """Every sum that must hold whatever happened, and what these plans add up to."""
    for transport in ("sse", "ndjson", "text", "websocket", "json"):
        begun = page.sum("penstock_streams_started_total", transport=transport)
        over = page.sum("penstock_streams_total", transport=transport)
        assert begun == over + page.sum("penstock_streams_active", transport=transport)
        attached = page.sum("penstock_readers_attached_total", transport=transport)
        left = page.sum("penstock_readers_left_total", transport=transport)
        assert attached == left + page.sum("penstock_readers", transport=transport)
        assert page.sum("penstock_reader_first_event_seconds_count", transport=transport) <= attached
    assert page.sum("gen_ai_client_operation_duration_seconds_count") == page.sum("penstock_streams_total")
    for cause in page.values("penstock_readers_left_total", "cause"):
        left = page.sum("penstock_readers_left_total", cause=cause)
        assert page.sum("penstock_reader_seconds_count", cause=cause) == left
        assert page.sum("penstock_reader_read_ratio_count", cause=cause) == left
    begun_over = Counter(plan.transport for plan in plans)
    assert {name: page.sum("penstock_streams_started_total", transport=name) for name in begun_over} == begun_over
    outcomes = Counter(FATES[plan.fate] for plan in ended)
    assert {name: page.sum("penstock_streams_total", outcome=name) for name in outcomes} == outcomes
    assert page.sum("penstock_streams_total") == len(ended)
    assert page.sum("penstock_stream_failures_total") == outcomes["upstream_error"] + outcomes["server_error"]
    assert page.sum("penstock_sources_raised_total") == outcomes["server_error"]
    readers = Counter(plan.transport for plan in plans)
    readers["ndjson"] += sum(plan.companions for plan in plans)
    assert {name: page.sum("penstock_readers_attached_total", transport=name) for name in readers} == readers


@given(plans=st.lists(PLANS, min_size=1, max_size=5), pause=st.integers(0, 5))
@settings(max_examples=12, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_what_began_has_ended_or_goes_on(plans: list[Plan], pause: int) -> None:
    asyncio.run(_carried_out(plans, pause))


async def _carried_out(plans: list[Plan], pause: int) -> None:
    # Whoever leaves has the clock turned on, and nobody else shall be late by it.
    never = Seconds(1_000_000)
    limits = TimeLimits(first_token=never, gap=never, total=never, stall=never, retention=never)
    config = configured(Config(limits=limits), heartbeat=never)
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(serving(config))
        http = await stack.enter_async_context(served.client())
        clients = [Client(served, http, plan, number) for number, plan in enumerate(plans)]
        for client in clients:
            await client.begin()
        page = await scraped(http)
        check(page, plans, [])
        assert page.sum("penstock_streams_active") == len(plans)
        assert page.sum("penstock_readers") == sum(1 + plan.companions for plan in plans)
        assert page.sum("penstock_stream_events_total") == sum(2 + plan.words for plan in plans)
        some = clients[:pause]
        for client in some:
            await client.end()
        done = [client.plan for client in some]
        check(await scraped(http), plans, done)
        for client in clients[pause:]:
            await client.end()
        page = await scraped(http)
        check(page, plans, plans)
        assert (page.sum("penstock_streams_active"), page.sum("penstock_readers")) == (0, 0)
        logs = [handle.log for handle in served.runs.by_id.values()]
        assert page.sum("penstock_stream_events_total") == sum(log.last for log in logs)
        assert page.sum("penstock_stream_said_bytes_total") == sum(log.said for log in logs)
        assert page.sum("penstock_streams_held") == len(plans)
        assert page.sum("penstock_stream_queue_bytes") == 0
        assert page.sum("penstock_cancel_seconds_count") == sum(plan.fate in ("cancel", "leave") for plan in plans)
