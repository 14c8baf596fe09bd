"""One quick demo server for the tests of the commands that talk to one."""

from collections.abc import AsyncIterator, Iterator

import pytest

from penstock.cli.client import Client, connected
from tests.cli.serving import Served, starting

QUICK = """
[demo]
rate = 0
tokens = 150
"""


@pytest.fixture(scope="session")
def _started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with starting(tmp_path_factory.mktemp("quick"), config=QUICK) as served:
        yield served


@pytest.fixture
async def quick(_started: Served) -> Served:
    """A server whose demo says 150 tokens as fast as they are read; shared, so nobody may stop it."""
    await _started.ready()
    return _started


@pytest.fixture
async def client(quick: Served) -> AsyncIterator[Client]:
    async with connected(quick.url) as client:
        yield client
