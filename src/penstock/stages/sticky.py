"""Which target answered a conversation last: it has the beginning of it in its cache. A bounded table, the oldest forgotten first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from penstock.core.request import ChatRequest, Run

MOST = 10_000
"""Conversations that are remembered for one model."""
LONGEST = 256
"""Characters of a name that are looked at; what only differs beyond is one conversation."""

Key = tuple[str, str, str]


class Sticky:
    """Conversations of one model, by the names clients give them; those of another principal are others."""

    def __init__(self, most: int = MOST):
        self._most = most
        self._last: OrderedDict[Key, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._last)

    def target(self, request: ChatRequest, run: Run) -> str:
        """Who answered this conversation last; empty where nobody did, or nothing names it."""
        return next(filter(None, (self._last.get(key) for key in _keys(request, run))), "")

    def keep(self, request: ChatRequest, run: Run, target: str) -> None:
        """This target has answered it."""
        for key in (*_keys(request, run), (run.principal.name, "answer", _bare(run.id))):
            self._last[key] = target
            self._last.move_to_end(key)
        while len(self._last) > self._most:
            self._last.popitem(last=False)


def _keys(request: ChatRequest, run: Run) -> Iterator[Key]:
    """The names of a conversation, the closest first."""
    whose = run.principal.name
    if request.previous:
        yield whose, "answer", _bare(request.previous)
    if request.chat:
        yield whose, "chat", request.chat[:LONGEST]
    for name in ("prompt_cache_key", "user"):
        if isinstance(value := request.params.get(name), str) and value:
            yield whose, name, value[:LONGEST]


def _bare(name: str) -> str:
    """The id of a run or of its answer without what stands before it in a dialect."""
    return name.rpartition("_")[2][:LONGEST]
