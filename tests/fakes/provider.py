"""The scripted provider of `penstock.testing.upstream` as a fixture."""

from collections.abc import AsyncGenerator

import pytest

from penstock.testing.upstream import CHAT, MODELS, USUAL, Connection, Provider, Request, going_on, head_bytes, usual


@pytest.fixture
async def provider() -> AsyncGenerator[Provider]:
    async with Provider().listening() as listening:
        yield listening


__all__ = [
    "CHAT",
    "MODELS",
    "USUAL",
    "Connection",
    "Provider",
    "Request",
    "going_on",
    "head_bytes",
    "provider",
    "usual",
]
