"""What the tests of sources ask with, whom they trust, and the event loops they run on.

What reads sockets is tried with both clients, on asyncio's own loop and on uvloop, as the server uses it.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from importlib.util import find_spec

import pytest
import trustme

from penstock.sources.openai_http import OpenAIProvider
from penstock.sources.provider import HttpSource
from tests.fakes.provider import Provider
from tests.sources.asking import SECRET

ON_BOTH = {"test_http_client", "test_http_connections", "test_openai_http", "test_openai_http_faults"}


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.path.stem in ON_BOTH and find_spec("uvloop"):
        import uvloop

        loops["uvloop"] = uvloop.new_event_loop
    return loops


@pytest.fixture(params=["httptools", "aiohttp"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The client that does the asking; both must do it alike."""
    if request.param == "aiohttp":
        monkeypatch.setitem(sys.modules, "penstock.sources.http_client", None)
    return str(request.param)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def source(provider: Provider, client: str) -> AsyncGenerator[HttpSource]:
    """A model of a provider that speaks OpenAI's chat, where a test has no other."""
    source = OpenAIProvider(provider.base_url, api_key=SECRET).source("upstream-model")
    yield source
    await source.close()
