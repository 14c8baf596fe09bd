"""The event loops the tests of sources run on: what reads sockets is tried on asyncio's own and on uvloop, as the server uses it."""

import asyncio
from collections.abc import Callable, Mapping
from importlib.util import find_spec

import pytest

ON_BOTH = {"test_http_client", "test_openai_http", "test_anthropic_http", "test_ollama_http"}


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.path.stem in ON_BOTH and find_spec("uvloop"):
        import uvloop

        loops["uvloop"] = uvloop.new_event_loop
    return loops
