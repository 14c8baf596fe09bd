"""The page of metrics as it is served: what it names, what it never names, who may read it, and where."""

import asyncio
from contextlib import AsyncExitStack

import httpx2
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from penstock.assembly import reload
from penstock.config.model import Config, MetricsConfig
from penstock.config.models import ModelConfig
from penstock.config.units import Seconds
from penstock.core.events import Usage
from penstock.server import metrics as metrics_room
from penstock.server.listener import listen
from penstock.telemetry.families import FAMILIES, OTHER
from tests.loopback import http_client
from tests.server.reading import PROMPT, detached, event_stream, lines, said, websocket
from tests.serving import Served, configured, serving
from tests.telemetry.pages import Page, scraped
from tests.waiting import until

CANARY = "canary-in-the-mine"
QUIET = configured(heartbeat=Seconds(3600))


async def resumes(http: httpx2.AsyncClient) -> dict[str, float]:
    page = await scraped(http)
    return {labels["result"]: value for labels, value in page.samples.get("penstock_resume_total", [])}


async def test_every_way_of_coming_back_is_counted_by_what_it_got() -> None:
    async with serving(QUIET) as served, served.client() as http:
        run = await said(served, http, "one ", "two ")
        path = f"/v1/streams/{run}/events"
        cursors = {
            "replayed": served.run(run).cursor(1),
            "ended": served.run(run).cursor(served.run(run).log.last),
            "ahead": served.run(run).cursor(99),
            "malformed": f"{run}:nonsense",
            "gap": f"{run}:zz:1",
        }
        statuses = {}
        for result, cursor in cursors.items():
            answer = await http.get(path, headers={"last-event-id": cursor})
            statuses[result] = answer.status_code
        gone = await http.get(path, params={"dialect": "openai-chat"}, headers={"last-event-id": cursors["gap"]})
        assert (statuses, gone.status_code) == (
            {"replayed": 200, "ended": 204, "ahead": 409, "malformed": 400, "gap": 200},
            410,
        )
        async with websocket(served.ws_url) as socket:
            await socket.send(type="attach", stream=run, after=cursors["replayed"])
            await socket.until("finished")
        log = served.run(run).log
        await until("everybody has gone", lambda: not log.readers)
        assert await resumes(http) == {
            "replayed": 2,
            "ended": 1,
            "ahead": 1,
            "malformed": 1,
            "gap": 1,
            "gone": 1,
        }
        page = await scraped(http)
        after_the_first, after_the_gap = log.said - log.said_through(1), log.said - log.said_through(log.last - 1)
        assert page.sum("penstock_replayed_bytes_total") == 2 * after_the_first + after_the_gap


async def test_a_first_reader_is_no_resume() -> None:
    async with serving(QUIET) as served, served.client() as http:
        run = await said(served, http, "word")
        await http.get(f"/v1/streams/{run}/events")
        assert await resumes(http) == {}


async def test_refusals_are_counted_by_code_and_route_and_never_by_path() -> None:
    async with serving(QUIET) as served, served.client() as http:
        await http.post("/v1/streams", content=b"{")
        await http.get(f"/v1/streams/{CANARY}")
        await http.get(f"/{CANARY}")
        await http.put("/v1/models")
        async with websocket(served.ws_url) as socket:
            await socket.ask(type=CANARY)
        page = await scraped(http)
        refused = {
            (labels["code"], labels["route"]): value for labels, value in page.samples["penstock_refusals_total"]
        }
        assert refused == {
            ("invalid_json", "/v1/streams"): 1,
            ("stream_not_found", "/v1/streams/{stream}"): 1,
            ("route_not_found", OTHER): 1,
            ("method_not_allowed", "/v1/models"): 1,
            ("unknown_command", "/v1/chat/ws"): 1,
        }
        assert "canary" not in page.text


async def test_no_words_keys_ids_or_names_of_clients_are_on_the_page() -> None:
    """Models that a configuration does not name are told apart no more: a client could invent any number."""
    config = Config(models={"known": ModelConfig(targets=("demo",))})
    async with serving(config) as served, served.client() as http:
        prompt = [{"role": "user", "content": CANARY}]
        names = {"authorization": f"Bearer {CANARY}", "x-request-id": CANARY, "idempotency-key": CANARY}
        body = {"model": "scripted", "messages": prompt, "user": CANARY, "stream": True}
        asking = asyncio.ensure_future(http.post("/v1/streams", json=body, headers=names))
        telling = await served.telling()
        telling.speak(CANARY)
        telling.say(Usage(12, 9, "reported"))
        telling.finish()
        await asking
        await http.post("/v1/chat/completions", json={"model": f"nobody/{CANARY}", "messages": prompt})
        page = await scraped(http)
        assert "canary" not in page.text
        assert telling.run.id not in page.text
        assert page.values("penstock_streams_started_total", "model") == {"scripted"}
        assert page.sum("gen_ai_client_token_usage_sum", gen_ai_token_type="output") == 9


async def test_what_is_on_the_page_stands_in_the_table_with_its_labels() -> None:
    async with serving(QUIET) as served, served.client() as http:
        await said(served, http, "word")
        await http.get("/nothing")
        page = await scraped(http)
    ours = {name for name in page.samples if name.startswith(("penstock_", "gen_ai_"))}
    assert ours - {sample for name in FAMILIES for sample in (name, *(f"{name}_{end}" for end in ENDS))} == set()
    for name in ours:
        family = FAMILIES.get(name) or FAMILIES[name.rpartition("_")[0]]
        for labels, _ in page.samples[name]:
            assert set(labels) - {"le"} == set(family.labels)


ENDS = ("bucket", "sum", "count")


async def test_whoever_asks_for_openmetrics_gets_that() -> None:
    async with serving(QUIET) as served, served.client() as http:
        await said(served, http, "word")
        answer = await http.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = text_string_to_metric_families(answer.text)  # type: ignore[no-untyped-call]
    names = {family.name for family in families}
    assert {"penstock_streams_started", "penstock_reader_event_gap_seconds"} - names == set()


async def test_a_reader_that_is_behind_shows_what_it_is_owed_and_what_was_merged_for_it() -> None:
    async with serving(QUIET) as served, served.client() as http:
        run = await detached(http)
        handle = served.run(run)
        (await served.telling()).flood("x" * 1000, 40)
        await until("it was said", lambda: handle.log.last == 42)
        reader = served.runs.attach(handle, 0, transport="sse")
        page = await scraped(http)
        assert page.sum("penstock_stream_queue_depth", transport="sse") == 42
        assert page.sum("penstock_stream_queue_bytes", transport="sse") == handle.log.said
        assert page.sum("penstock_stream_queue_bytes_max", transport="sse") == handle.log.said
        reader.detach()
        async with lines(http, "GET", f"/v1/streams/{run}/events") as told:
            count = 0
            while "id" not in (line := await told.next()) or not line["id"].endswith(":42"):
                count += 1
        page = await scraped(http)
        assert page.sum("penstock_merged_deltas_total", transport="ndjson") == 42 - (count + 1)
        assert page.sum("penstock_merged_deltas_total", transport="ndjson") > 0


async def test_what_is_added_before_a_source_is_asked_is_timed_for_each_transport() -> None:
    async with serving(QUIET) as served, served.client() as http, websocket(served.ws_url) as socket:
        await said(served, http, "one")
        await socket.start("a")
        await socket.start("b")
        page = await scraped(http)
        assert page.sum("penstock_overhead_seconds_count", transport="websocket") == 2
        assert page.sum("penstock_overhead_seconds_count") == page.sum("penstock_streams_started_total") == 3
        for telling in served.source.tellings[1:]:
            telling.finish()


async def test_a_stopped_source_is_timed_and_a_dropped_run_says_how_much_of_it_was_read() -> None:
    async with serving(QUIET) as served, served.client() as http:
        run = await detached(http)
        telling = await served.telling()
        telling.speak("one ", "two ")
        async with event_stream(http, "GET", f"/v1/streams/{run}/events") as stream:
            await stream.next()
            await http.delete(f"/v1/streams/{run}")
            await stream.rest()
        await telling.closed.wait()
        await until("the source has closed", lambda: not served.run(run).pump.closing)
        await served.quiet()
        await http.delete(f"/v1/streams/{run}", params={"purge": "1"})
        page = await scraped(http)
        assert page.sum("penstock_cancel_seconds_count", cause="client") == 1
        assert page.sum("penstock_stream_read_ratio_count") == 1
        assert page.sum("penstock_stream_read_ratio_sum") == 1
        assert page.sum("penstock_streams_held") == 0


async def test_with_keys_the_page_wants_one() -> None:
    async with serving(_with_keys()) as served, served.client() as http:
        assert (await http.get("/metrics")).status_code == 401
        answer = await http.get("/metrics", headers={"authorization": f"Bearer {KEY}"})
        assert answer.status_code == 200
        assert KEY not in answer.text
        assert Page(answer.text).sum("penstock_refusals_total", code="unauthenticated", route="/metrics") == 1


async def test_on_a_port_of_its_own_it_wants_none_and_is_nowhere_else() -> None:
    listener = listen("127.0.0.1", 0)
    config = _with_keys(metrics=MetricsConfig(port=0))
    async with serving(config, scraped_at=listener) as served, served.client() as http:
        port = listener.getsockname()[1]
        async with http_client(f"http://127.0.0.1:{port}") as inner:
            page = await scraped(inner)
            assert page.sum("penstock_connections") == 0
            others = [await inner.get("/v1/models"), await inner.post("/metrics"), await inner.get("/metrics?x=1")]
        assert [answer.status_code for answer in others] == [404, 405, 400]
        ours = await http.get("/metrics", headers={"authorization": f"Bearer {KEY}"})
        assert ours.status_code == 404
        await served.host._scrape_port.shutdown()  # type: ignore[attr-defined]


async def test_the_port_of_its_own_takes_so_many_connections_and_tells_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics_room, "MOST_SCRAPERS", 2)
    listener = listen("127.0.0.1", 0)
    async with (
        serving(_with_keys(metrics=MetricsConfig(port=0)), scraped_at=listener) as served,
        AsyncExitStack() as stack,
    ):
        ask = f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"
        first, second, third = [await stack.enter_async_context(http_client()) for _ in range(3)]
        assert [(await each.get(ask)).status_code for each in (first, second, first, third, second)] == [
            200,
            200,
            200,
            503,
            200,
        ]
        await first.aclose()
        await until("there is room again", lambda: served.host._scrape_port.connections.count == 1)  # type: ignore[attr-defined]
        assert (await third.get(ask)).status_code == 200
        await served.host._scrape_port.shutdown()  # type: ignore[attr-defined]


async def test_switched_off_there_is_no_page() -> None:
    config = configured(Config(metrics=MetricsConfig(enabled=False)))
    async with serving(config) as served, served.client() as http:
        assert (await http.get("/metrics")).status_code == 404
        assert (await http.post("/v1/streams", json=PROMPT, headers={"accept": "application/json"})).status_code == 201
        assert isinstance(served, Served)


async def test_a_reload_keeps_what_was_counted_and_learns_the_new_names() -> None:
    async with serving(QUIET) as served, served.client() as http:
        await said(served, http, "word")
        reload(served.app, Config(models={"fresh": ModelConfig(targets=("demo",))}))
        answer = await http.post(
            "/v1/streams", json={"model": "fresh", "prompt": "hi", "demo": {"rate": 0, "tokens": 3}}
        )
        assert answer.status_code == 200
        page = await scraped(http)
        assert page.sum("penstock_streams_started_total", model="scripted") == 1
        assert page.sum("penstock_streams_started_total", model="fresh") == 1
        assert page.sum("penstock_connections") > 0


KEY = "sk-penstock-test-0123456789abcdef"


def _with_keys(**more: object) -> Config:
    from penstock.config.model import AuthConfig
    from penstock.config.units import Secret

    return Config(auth=AuthConfig(api_keys=Secret(KEY)), **more)  # type: ignore[arg-type]
