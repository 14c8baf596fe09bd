"""An ASGI application on a port of its own, in the test's loop: as `uvicorn module:app` would serve it, or as `penstock serve`."""

import asyncio
import importlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import httpx2
import uvicorn

from penstock.assembly import build
from penstock.config.model import Config
from penstock.server.app import App
from penstock.server.host import Host
from penstock.server.listener import listen
from tests.loopback import http_client


def example(name: str) -> ModuleType:
    """The example as its own process would import it: with an app of its own, that nobody has closed."""
    return importlib.reload(importlib.import_module(f"examples.{name}"))


class Beats:
    """Stands where an example looks for `asyncio`: its pauses end when the test gives a beat, and at no time of their own."""

    def __init__(self) -> None:
        self._given = asyncio.Semaphore(0)

    def give(self, count: int) -> None:
        """End the next so many pauses, as soon as they begin."""
        for _ in range(count):
            self._given.release()

    async def sleep(self, seconds: float) -> None:
        await self._given.acquire()


@asynccontextmanager
async def hosted(app: Any) -> AsyncGenerator[str]:
    """The base URL of the running app. Ours is served by our own host, any other by uvicorn as it is."""
    listener = listen("127.0.0.1", 0)
    host: uvicorn.Server
    if isinstance(app, App):
        host = Host(app, drain=0)
    else:
        host = uvicorn.Server(uvicorn.Config(app, access_log=False, log_config=None, timeout_graceful_shutdown=2))
    host.config.load()
    host.lifespan = host.config.lifespan_class(host.config)
    await host.startup(sockets=[listener])
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        if isinstance(app, App):
            app.service.runs.abandon()
        await host.shutdown(sockets=[listener])


@asynccontextmanager
async def penstock_serve(config: Config | None = None) -> AsyncGenerator[str]:
    """The base URL of a server as the command `penstock serve` makes it."""
    async with hosted(build(config)) as url:
        yield url


@asynccontextmanager
async def asking(url: str) -> AsyncGenerator[httpx2.AsyncClient]:
    """A client of that server and no other."""
    async with http_client(url) as client:
        yield client
