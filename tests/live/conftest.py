"""What most tests of real clients talk to, where they start nothing of their own."""

from collections.abc import AsyncGenerator

import pytest

from tests.fakes.model import steps
from tests.fakes.provider import Provider
from tests.serving import Served, serving, upstream


@pytest.fixture
async def served(provider: Provider) -> AsyncGenerator[Served]:
    """A server whose model `fake` is at a provider that answers whatever it is asked."""
    provider.unscripted = steps
    async with serving(upstream(provider.base_url)) as server:
        yield server
