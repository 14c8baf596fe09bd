"""Keys: without one nothing is told, with one what it grants, and a change of the file is seen by a running server."""

import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx2
import pytest

from penstock import registry
from penstock.auth.grant import Allowance
from penstock.auth.keyfile import changing
from penstock.auth.quota import GUESSES
from penstock.config.model import AuthConfig
from penstock.config.models import ModelConfig
from penstock.config.units import Secret
from tests.server.keyed import ALICE, BOB, BODIES, NEEDS_NONE, add_key, ask, bearer, keyed, operations, with_keys
from tests.server.reading import PROMPT, event_stream
from tests.server.test_errors import POSTS, error_of
from tests.serving import Served, serving

GUARDED = [(method, path) for method, path in operations() if path not in NEEDS_NONE]
RUN = "st_" + "a" * 26


@pytest.fixture
async def both() -> AsyncGenerator[tuple[Served, httpx2.AsyncClient]]:
    async with keyed() as pair:
        yield pair


async def test_every_path_but_health_and_the_page_wants_a_key(both: tuple[Served, httpx2.AsyncClient]) -> None:
    served, client = both
    answers = {}
    for method, path in GUARDED:
        if not path.endswith("/ws"):
            answers[method, path] = await ask(client, method, path.replace("{stream}", RUN))
    answers["GET", "unknown"] = await client.get("/v1/unknown")
    answers["PUT", "not allowed"] = await client.put("/v1/streams")
    answers["OPTIONS", "no preflight"] = await client.options("/v1/streams")
    told = {asked: (answer.status_code, answer.headers.get("www-authenticate")) for asked, answer in answers.items()}
    assert set(told.values()) == {(401, "Bearer")}, told
    assert served.runs.by_id == {}


@pytest.mark.parametrize("path", NEEDS_NONE)
async def test_health_needs_none(both: tuple[Served, httpx2.AsyncClient], path: str) -> None:
    assert (await both[1].get(path)).status_code == 200
    assert (await both[1].head(path)).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        "' OR '1'='1",
        "*",
        "alice",
        ALICE[:-1],
        f"alice:{ALICE}",
        "psk_aaaaaaaaaa_" + "0" * 49,
        "x" * 4000,
    ],
)
async def test_a_wrong_key_is_refused_in_the_dialect_of_the_route(
    both: tuple[Served, httpx2.AsyncClient], wrong: str
) -> None:
    served, client = both
    for path, dialect in POSTS.items():
        for headers in (bearer(wrong), {"x-api-key": wrong}):
            answer = await client.post(path, json=PROMPT, headers=headers)
            assert (answer.status_code, error_of(dialect, answer)[0]) == (401, "unauthenticated")
            assert wrong not in answer.text or wrong in ("*", "alice")
    assert served.runs.by_id == {}


@pytest.mark.parametrize(
    "headers",
    [
        bearer(ALICE),
        {"authorization": f"bearer  {ALICE}"},
        {"x-api-key": ALICE},
        {"authorization": "Basic YTpi", "x-api-key": ALICE},
    ],
)
async def test_a_key_comes_as_clients_send_it(both: tuple[Served, httpx2.AsyncClient], headers: dict[str, str]) -> None:
    _, client = both
    answer = await client.get("/v1/streams", headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"streams": []})


async def test_a_key_in_the_url_is_none(both: tuple[Served, httpx2.AsyncClient]) -> None:
    _, client = both
    for name in ("key", "access", "api_key"):
        assert (await client.get("/v1/streams", params={name: ALICE})).status_code == 401


async def test_a_source_is_told_on_whose_behalf_it_speaks(both: tuple[Served, httpx2.AsyncClient]) -> None:
    served, client = both
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT, headers=bearer(BOB)) as stream:
        telling = await served.telling()
        assert telling.run.principal.name == "bob"
        telling.finish()
        await stream.rest()


# -- what a key grants -------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


async def test_a_model_that_is_not_granted_is_answered_like_one_that_is_not(path: Path) -> None:
    key = add_key(path, "carol", models=("scripted",))
    config = with_keys(keys_file=str(path))
    config = type(config)(
        server=config.server, auth=config.auth, models={"secret-model": ModelConfig(targets=("demo",))}
    )
    async with serving(config) as served, served.client(headers={**bearer(key), "x-request-id": "same"}) as client:
        for route, dialect in POSTS.items():
            body = BODIES.get(route, PROMPT)
            hidden = await client.post(route, json={**body, "model": "secret-model"})
            missing = await client.post(route, json={**body, "model": "secret-modem"})
            assert (hidden.status_code, error_of(dialect, hidden)[0]) == (404, "unknown_model")
            assert hidden.content.replace(b"secret-model", b"secret-modem") == missing.content
        listed = (await client.get("/v1/models")).json()["data"]
        assert [model["id"] for model in listed] == ["scripted"]
        everything = (await client.get("/v1/models", headers=bearer(ALICE))).json()["data"]
        assert {model["id"] for model in everything} == {"scripted", "secret-model"}
        assert served.runs.by_id == {}


async def test_a_key_begins_runs_only_where_it_may_and_reads_its_own_everywhere(path: Path) -> None:
    key = add_key(path, "carol", routes=("/v1/streams", "/v1/chat/ws"))
    async with keyed(with_keys(keys_file=str(path))) as (served, client):
        client.headers.update(bearer(key))
        for route, dialect in POSTS.items():
            if route != "/v1/streams":
                answer = await ask(client, "POST", route)
                assert (answer.status_code, error_of(dialect, answer)[0]) == (403, "forbidden")
        created = await client.post("/v1/streams", json=PROMPT, headers={"accept": "application/json"})
        (await served.telling()).finish()
        cursor = created.json()["cursor"]
        resumed = await client.get("/v1/chat/stream", headers={"last-event-id": cursor})
        assert (resumed.status_code, resumed.headers["penstock-stream-id"]) == (200, created.json()["id"])


async def test_an_expired_key_is_told_so(path: Path) -> None:
    key = add_key(path, "carol", expires=int(time.time()) - 1)
    async with keyed(with_keys(keys_file=str(path))) as (_, client):
        answer = await client.get("/v1/streams", headers=bearer(key))
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthenticated")
        assert "expired" in answer.json()["error"]["message"]


async def test_keys_come_and_go_while_the_server_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.auth.keyfile.LOOK", 0.0)
    first = add_key(path, "carol")
    async with keyed(with_keys(keys_file=str(path))) as (_, client):
        statuses = [(await client.get("/v1/streams", headers=bearer(first))).status_code]
        second = add_key(path, "dave")
        statuses.append((await client.get("/v1/streams", headers=bearer(second))).status_code)
        with changing(path) as keys:
            keys.clear()
        statuses += [
            (await client.get("/v1/streams", headers=bearer(key))).status_code for key in (first, second, ALICE)
        ]
        assert statuses == [200, 200, 401, 401, 200]


async def test_a_third_party_decides_who_may_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.TABLES["authenticators"], "tickets", "tests.server.tickets:Tickets")
    config = with_keys(api_keys=None, authenticator="tickets")
    async with keyed(config) as (served, client):
        assert not config.auth.open
        assert (await client.get("/v1/streams")).status_code == 401
        async with event_stream(client, "POST", "/v1/streams", json=PROMPT, headers=bearer("ticket erin")) as stream:
            telling = await served.telling()
            assert telling.run.principal.name == "erin"
            telling.finish()
            await stream.rest()


# -- guessing ----------------------------------------------------------------------------------------------------------


async def test_who_guesses_keys_is_told_to_wait_and_the_right_key_still_works(
    both: tuple[Served, httpx2.AsyncClient],
) -> None:
    _, client = both
    guesses = [await client.get("/v1/streams", headers=bearer(f"guess-{number}")) for number in range(GUESSES + 1)]
    assert [answer.status_code for answer in guesses] == [401] * GUESSES + [429]
    assert int(guesses[-1].headers["retry-after"]) >= 1
    assert guesses[-1].json()["error"]["code"] == "rate_limited"
    assert (await client.get("/v1/streams", headers=bearer(ALICE))).status_code == 200
    assert (await client.get("/v1/streams")).status_code == 401


@pytest.mark.parametrize(("trusted", "last"), [((), 429), (("127.0.0.1",), 401)])
async def test_an_address_behind_a_proxy_is_believed_only_where_the_proxy_is(
    trusted: tuple[str, ...], last: int
) -> None:
    async with keyed(with_keys(server={"trusted_proxies": trusted})) as (_, client):
        for number in range(GUESSES):
            await client.get("/v1/streams", headers={**bearer(f"guess-{number}"), "x-forwarded-for": "192.0.2.1"})
        answer = await client.get("/v1/streams", headers={**bearer("guess"), "x-forwarded-for": "192.0.2.1, 192.0.2.2"})
        assert answer.status_code == last
        # What a client wrote itself stands left of what the proxy saw.
        answer = await client.get("/v1/streams", headers={**bearer("guess"), "x-forwarded-for": "192.0.2.9, 192.0.2.1"})
        assert answer.status_code == 429


async def test_many_wrong_keys_at_once_cost_the_others_nothing(both: tuple[Served, httpx2.AsyncClient]) -> None:
    _, client = both
    wrong = [client.get("/v1/streams", headers=bearer("wrong" * 10)) for _ in range(50)]
    right = [client.get("/v1/streams", headers=bearer(ALICE)) for _ in range(5)]
    answers = await asyncio.gather(*wrong, *right)
    assert [answer.status_code for answer in answers[-5:]] == [200] * 5
    assert {answer.status_code for answer in answers[:-5]} == {401, 429}


def test_a_setting_with_keys_shows_none() -> None:
    auth = AuthConfig(api_keys=Secret(f"alice:{ALICE}"), secret=Secret("s" * 32))
    assert ALICE not in repr(auth)
    assert "ssss" not in repr(auth)
    assert Allowance().concurrent_runs == 0
