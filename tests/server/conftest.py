"""The server most tests of this room speak to: default routes, one scripted model, and no heartbeat that could cover for a silence."""

from collections.abc import AsyncGenerator

import httpx2
import pytest

from penstock.config.units import Seconds
from tests.serving import Served, configured, serving


@pytest.fixture
async def served() -> AsyncGenerator[Served]:
    async with serving(configured(heartbeat=Seconds(3600))) as server:
        yield server


@pytest.fixture
async def client(served: Served) -> AsyncGenerator[httpx2.AsyncClient]:
    async with served.client() as http:
        yield http
