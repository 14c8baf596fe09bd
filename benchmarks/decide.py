"""What a routing decision costs, in this process: the rules and labelled requests of `examples/routing`, and requests of unusual size.

CPU time of this thread from the request, as its dialect read it, to the targets in their order. Nothing is remembered between two
decisions.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.encode import nanoseconds
from benchmarks.rows import Row
from benchmarks.sitting import Sitting
from penstock.catalog import Catalog
from penstock.config.load import load
from penstock.core.errors import Broken
from penstock.core.request import ChatRequest
from penstock.registry import resolve
from penstock.stages.routing import Router

EXAMPLE = Path(__file__).parents[1] / "examples/routing"
REPEATED = 200
PROSE = "Once there was a miller who had three sons, a mill, a donkey and a cat, and when he died they shared what was left. "
TOOL = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}},
}
LARGE: dict[str, dict[str, Any]] = {
    "a question of 1,000 words": {"prompt": PROSE * 44},
    "a page of Russian": {"prompt": "Жил-был мельник, и было у него три сына. " * 75},
    "50 KB of Markdown with `code` in it": {"prompt": f"# Chapter\n\n{PROSE}`x = 1`\n" * 370},
    "a question of 1 MB": {"prompt": PROSE * 8_600},
    "a question of 1 MB in Russian": {"prompt": "Жил-был мельник, и было у него три сына. " * 14_000},
    "a conversation of 200 messages with 20 tools": {
        "messages": [{"role": ("user", "assistant")[n % 2], "content": PROSE} for n in range(201)],
        "tools": [TOOL] * 20,
    },
}
"""The words of the question, or whole bodies."""


def decide(sitting: Sitting, *, repeated: int = REPEATED) -> list[Row]:
    return deciding(rounds=sitting.rounds, repeated=repeated)


def deciding(*, rounds: int, repeated: int) -> list[Row]:
    """The labelled requests together, of which the dearest is told too, and each of the large ones."""
    router = _router()
    usual = [request for request in _labelled() if _goes(router, request)]
    samples: list[dict[str, float]] = []
    for _ in range(rounds):
        costs = sorted(_microseconds(router, request, repeated) for request in usual)
        samples.append({"µs per decision": costs[len(costs) // 2], "the dearest, µs": costs[-1]})
    rows = [Row(group="decide", label=f"{len(usual)} labelled requests", columns=_columns(samples))]
    for label, asked in LARGE.items():
        messages = asked.get("messages") or [{"role": "user", "content": asked["prompt"]}]
        params = {"tools": asked["tools"]} if "tools" in asked else {}
        request = ChatRequest(model="assistant", messages=tuple(messages), params=params)
        taken = [{"µs per decision": _microseconds(router, request, max(1, repeated // 10))} for _ in range(rounds)]
        rows.append(Row(group="decide", label=label, columns=_columns(taken)))
    return rows


def _router() -> Router:
    """Of the example's model with rules. Its cassettes are named from its folder."""
    with contextlib.chdir(EXAMPLE):
        router = Catalog(load({}, file=Path("penstock.toml")), {}).router("assistant")
    if router is None:
        raise AssertionError("the example has one target")
    return router


def _labelled() -> list[ChatRequest]:
    """Those the example has for its model with rules."""
    dialect = resolve("dialects", "openai-chat")()
    lines = map(msgspec.json.decode, (EXAMPLE / "requests.jsonl").read_bytes().splitlines())
    asked = [
        msgspec.structs.replace(dialect.parse(msgspec.json.encode(line["request"])), hint=line.get("hint", ""))
        for line in lines
    ]
    return [request for request in asked if request.model == "assistant"]


def _goes(router: Router, request: ChatRequest) -> bool:
    try:
        router.decide(request)
    except Broken:
        return False  # the one that nobody can answer
    return True


def _microseconds(router: Router, request: ChatRequest, repeated: int) -> float:
    return nanoseconds(lambda: [router.decide(request) for _ in range(repeated)], each=repeated) / 1000


def _columns(samples: list[dict[str, float]]) -> dict[str, list[float]]:
    return {name: [sample[name] for sample in samples] for name in samples[0]}
