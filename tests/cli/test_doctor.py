"""`penstock doctor` as a command: its table, its JSON, its exit codes."""

import json
from asyncio.subprocess import PIPE, create_subprocess_exec
from pathlib import Path
from typing import get_args

import pytest

from penstock.cli.doctor import PROXIES
from penstock.cli.doctor_advice import Fault, Proxy, advice, recognised, shown
from tests.cli.serving import PENSTOCK, Served, clean_environment, starting
from tests.proxies.running import reserved
from tests.server.keyed import KEYS

PATIENT = ("--timeout", "60", "--idle", "0.2")


async def doctor(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    process = await create_subprocess_exec(
        *PENSTOCK, "doctor", *arguments, stdout=PIPE, stderr=PIPE, env=clean_environment()
    )
    out, err = await process.communicate()
    return await process.wait(), out.decode(), err.decode()


async def test_a_server_without_faults_exits_with_0(quick: Served) -> None:
    code, out, err = await doctor(quick.url, *PATIENT)
    assert (code, err) == (0, "")
    marks = {line.partition(" ")[0] for line in out.splitlines()}
    assert marks == {"✓", "!"}
    assert "✓ WebSocket              4 tokens came one by one" in out


async def test_as_json_every_finding_is_an_object_on_its_line(quick: Served) -> None:
    code, out, _ = await doctor(quick.url, *PATIENT, "--json", "--proxy", "nginx")
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert {each["outcome"] for each in found} == {"ok", "warning"}
    assert all(each.keys() == {"check", "outcome", "said", "fault", "advice"} for each in found)


async def test_a_fault_exits_with_1_and_its_line_is_shown(quick: Served) -> None:
    code, out, _ = await doctor(f"{quick.url}/nowhere", *PATIENT)
    assert code == 1
    assert out.splitlines()[-1].startswith("✗ penstock")


async def test_where_a_key_is_wanted_it_says_how_to_come_with_one(tmp_path: Path) -> None:
    with starting(tmp_path, environ={"PENSTOCK_API_KEYS": KEYS}) as served:
        await served.ready()
        code, out, _ = await doctor(served.url)
    assert code == 1
    assert out.splitlines()[-1].strip() == "→ come with --key KEY, or PENSTOCK_API_KEY=KEY"


async def test_where_nobody_answers_it_exits_with_2() -> None:
    with reserved() as port:
        code, out, err = await doctor(f"http://127.0.0.1:{port}")
    assert (code, out) == (2, "")
    assert err == f"error: nobody answers at http://127.0.0.1:{port}: Connection refused\n"


async def test_where_no_tls_is_spoken_it_says_which_url_to_write(quick: Served) -> None:
    code, out, err = await doctor(quick.url.replace("http://", "https://"))
    assert (code, out) == (2, "")
    assert err.endswith("what listens there speaks no TLS; write http://\n")


@pytest.mark.parametrize(
    ("headers", "proxy"),
    [
        ({"server": "nginx/1.22.1"}, "nginx"),
        ({"server": "openresty"}, "nginx"),
        ({"server": "Caddy"}, "caddy"),
        ({"via": "1.1 Caddy"}, "caddy"),
        ({"server": "cloudflare", "cf-ray": "8f"}, None),
        ({}, None),
    ],
)
def test_a_proxy_is_recognised_by_what_it_shows(headers: dict[str, str], proxy: Proxy | None) -> None:
    assert recognised(headers) == proxy
    assert shown(headers) == ", ".join(headers.values())


def test_every_fault_has_advice_for_every_proxy() -> None:
    assert get_args(Proxy) == PROXIES
    general = {fault: advice(fault, None) for fault in get_args(Fault)}
    assert len(set(general.values())) == len(general)
    for fault in get_args(Fault):
        for proxy in get_args(Proxy):
            assert advice(fault, proxy) == general[fault] or advice(fault, proxy).startswith(f"{proxy}: ")
    assert [fault for fault in general if advice(fault, "nginx") == general[fault]] == []
