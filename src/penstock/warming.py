"""What is done before anybody asks: connections are made, and engines are made to load their models."""

from __future__ import annotations

import asyncio

import msgspec

from penstock.catalog import Catalog
from penstock.core.request import ChatRequest, Principal
from penstock.core.source import Source
from penstock.flow.policy import OnDisconnect, Policy
from penstock.flow.runs import Runs

OURS = Principal("penstock")
"""Whose the runs are that only warm; nobody else finds them."""


class Warming:
    """For one configuration: its providers that are to be warm, and its targets."""

    def __init__(self, catalog: Catalog, policy: Policy):
        self._catalog = catalog
        self._policy = msgspec.structs.replace(policy, on_disconnect=OnDisconnect("finish", 0))

    @property
    def wanted(self) -> bool:
        """Whether there is anything to do."""
        return self._catalog.warms or bool(self._catalog.cold)

    async def __call__(self, runs: Runs) -> None:
        """Do it, and wait until it is done. How a question ended is told like that of any run."""
        asked = (self._ask(runs, name, source) for name, source in self._catalog.cold.items())
        for problem in await asyncio.gather(self._connect(runs), *asked, return_exceptions=True):
            if problem is not None:
                raise problem

    async def _connect(self, runs: Runs) -> None:
        for provider in await self._catalog.warm():
            runs.observer.provider_cold(provider)

    async def _ask(self, runs: Runs, name: str, source: Source) -> None:
        question = ChatRequest(
            model=name, messages=({"role": "user", "content": "Hi"},), params={"max_tokens": 1}, stream=False
        )
        handle = await runs.start(question, source, self._policy, principal=OURS, detached=True)
        await handle.pump.closed()
