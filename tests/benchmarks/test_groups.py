"""Each table beside the scenarios, at a tiny size: it runs, and every token of it comes once and in order. No time is judged."""

import os
import sys
from collections.abc import Callable, Iterator

import pytest

from benchmarks import decide, drain, encode, fanout, hardening, harness, idle, marks, resume, scaling, slow, where
from benchmarks.encode import SINGLY
from benchmarks.rows import Row
from benchmarks.scenarios import Scenario
from benchmarks.sitting import Sitting
from penstock.registry import names

pytestmark = [
    pytest.mark.needs("cc"),
    pytest.mark.skipif(sys.platform != "linux", reason="the programs use epoll"),
]
TINY = Scenario(title="tiny", streams=5, tokens=10, rate=0)
GROUPS: dict[str, tuple[int, Callable[[Sitting], list[Row]]]] = {
    "idle": (3, lambda sitting: idle.idle(sitting, streams=20, proxied=10, silence=0.3, ramp_ms=100)),
    "fanout": (3, lambda sitting: fanout.fanout(sitting, readers=10, tokens=10, rate=50.0, ramp_ms=100)),
    "slow": (2, lambda sitting: slow.slow(sitting, readers=3, tokens=100, rate=400.0, pad=1000)),
    "hardening": (
        2,
        lambda sitting: hardening.bounds(
            sitting, readers=3, tokens=150, rate=400.0, streams=10, seconds=5.0, pressing=0.3
        ),
    ),
    "drain": (1, lambda sitting: drain.drain(sitting, streams=10, seconds=0)),
    "resume": (3, lambda sitting: resume.resume(sitting, tokens=50, samples=2)),
    "streams": (2, lambda sitting: scaling.streams(sitting, counts=(10, 50), seconds=0.2)),
    "lengths": (2, lambda sitting: scaling.lengths(sitting, counts=(10, 100), side_by_side=2)),
    "transports": (4, lambda sitting: scaling.transports(sitting, scenario=TINY)),
    # Every dialect on three transports, bare text, and the log in four ways.
    "encode": (3 * len(names("dialects")) + 1 + 4, lambda sitting: encode.encode(sitting, events=200)),
    "decide": (1 + len(decide.LARGE), lambda sitting: decide.decide(sitting, repeated=1)),
}


@pytest.fixture(scope="module")
def sitting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sitting]:
    out = tmp_path_factory.mktemp("sitting")
    programs = harness.build(out)
    cpus = sorted(os.sched_getaffinity(0))
    place = harness.Placement(server=cpus[-1], load=cpus[0])
    with harness.upstream(programs, cpu=place.load) as upstream:
        yield Sitting(
            programs=programs, upstream=upstream, place=place, out=out, rounds=1, say=lambda line: None, warm_up=False
        )


@pytest.mark.parametrize("name", GROUPS)
def test_a_table_is_made_of_tokens_that_all_came(sitting: Sitting, name: str) -> None:
    count, measure = GROUPS[name]
    rows = measure(sitting)
    assert [row.fault for row in rows] == [""] * count
    assert all(row.columns for row in rows)


def test_a_dialect_is_compared_with_openai_chat_on_its_own_transport() -> None:
    rows = {row.label: row.columns for row in encode.encoding(rounds=2, events=200)}
    assert rows["openai-chat, WebSocket"]["× openai-chat"] == [1.0, 1.0]
    for label, yardstick in (("anthropic, SSE", "openai-chat, SSE"), ("plain, text", "openai-chat, NDJSON")):
        own, other = rows[label], rows[yardstick]
        assert own["× openai-chat"] == [mine / its for mine, its in zip(own[SINGLY], other[SINGLY], strict=True)]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"^7.0.1; ^7.1.1; ^7.2.1;", ""),
        (b"^7.0.1; ^7.2.1;", "1 lost, 0 repeated, 0 of others, in order"),
        (b"^7.0.1; ^7.1.1; ^7.1.1; ^7.2.1;", "0 lost, 1 repeated, 0 of others, in order"),
        (b"^7.1.1; ^7.0.1; ^7.2.1;", "0 lost, 0 repeated, 0 of others, out of order"),
        (b"^7.0.1; ^7.1.1; ^7.2.1; ^8.0.1;", "0 lost, 0 repeated, 1 of others, in order"),
    ],
)
def test_a_token_gone_wrong_is_noticed_in_what_python_reads(body: bytes, words: str) -> None:
    assert marks.wrong(body, stream=7, tokens=3) == words


def test_samples_are_added_up_by_what_a_reader_knows_the_library_as() -> None:
    printed = """
# Overhead  Shared Object
    50.25%  [kernel.kallsyms]
    30.00%  libpython3.11.so.1.0
    10.50%  loop.cpython-311-x86_64-linux-gnu.so
     8.75%  libc.so.6
     0.50%  libssl.so.3
"""
    assert where.libraries(printed) == {
        "the kernel": 50.25,
        "Python": 30.0,
        "uvloop": 10.5,
        "libc": 8.75,
        "the rest": 0.5,
    }
