"""A registry of runs as the tests of the flow keep one: its clock, its observer, its store, and whom it serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock.core.errors import Refused
from penstock.core.events import Terminal
from penstock.core.request import Principal
from penstock.core.source import Source
from penstock.flow.handle import RunHandle
from penstock.flow.policy import Bounds, OnDisconnect, Policy
from penstock.flow.runs import Runs
from penstock.stores.memory import MemoryStore
from tests.flow.scripted import ASKED, Clock, Seen, settle

ALICE, BOB = Principal("alice"), Principal("bob")
SMALL = Bounds(high=1000, low=500, detached_bytes=2000, max_run_bytes=5000)
CANCEL = Policy(on_disconnect=OnDisconnect("cancel"))
GRACE = Policy(on_disconnect=OnDisconnect("grace", 5))
LASTING = Policy(on_disconnect=OnDisconnect("finish"))


class House:
    """A registry of runs, its clock, its observer and its store."""

    def __init__(self, **limits: Any):
        self.clock = Clock()
        self.seen = Seen()
        self.store = MemoryStore(clock=self.clock)
        self.runs = Runs(self.store, observer=self.seen, clock=self.clock, **limits)

    async def run(
        self, source: Source, policy: Policy = CANCEL, *, detached: bool = False, principal: Principal = ALICE
    ) -> RunHandle:
        handle = await self.runs.start(ASKED, source, policy, principal=principal, detached=detached)
        await settle()
        return handle


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as problem:
        call()
    return problem.value.fault.code


def end(handle: RunHandle) -> Terminal | None:
    return handle.pump.terminal
