from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from hypothesis import given

from penstock.flow.store import Store
from penstock.stores.memory import MemoryStore
from penstock.testing.laws.fence import Deed, check_fence, interleavings
from penstock.testing.laws.stores import Pass, StoreLaws
from tests.flow.scripted import Clock


@asynccontextmanager
async def memory() -> AsyncGenerator[tuple[Store, Pass], None]:
    clock = Clock()

    async def passing(seconds: float) -> None:
        clock.turn(seconds)

    yield MemoryStore(clock=clock), passing


class TestMemoryStore(StoreLaws):
    store = staticmethod(memory)


@given(deeds=interleavings())
def test_no_former_owner_adds_anything_in_any_interleaving(deeds: list[Deed]) -> None:
    async def check() -> None:
        async with memory() as (store, passing):
            await check_fence(store, passing, deeds)

    asyncio.run(check())
