"""A whole server in the test's own loop, over real sockets, fed by a source whose gates the test holds.

What the server left behind is looked for at the end of every test: tasks, readers, sources, exceptions nobody took.
"""

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import msgspec
import uvicorn

from penstock.assembly import build
from penstock.config.model import Config, LogConfig
from penstock.config.models import ModelConfig
from penstock.config.routes import RouteConfig
from penstock.config.server import ServerConfig
from penstock.core.errors import Broken
from penstock.core.events import TERMINAL, Cancelled, Closed, Delta, Event, Finished, Opened, Started, Terminal, Usage
from penstock.core.observer import Departure, Observer
from penstock.core.request import ChatRequest, Run
from penstock.core.source import Source
from penstock.flow.handle import RunHandle
from penstock.flow.runs import Runs
from penstock.flow.watchdog import Watchdog
from penstock.server.app import App
from penstock.server.host import Host
from penstock.server.listener import PATIENCE, listen
from tests.contract.watching import Watched
from tests.flow.scripted import Clock
from tests.loopback import http_client
from tests.waiting import until

__all__ = ["Config", "LogConfig", "Scripted", "Served", "ServerConfig", "Telling", "configured", "serving", "upstream"]

Said = Event | Iterable[Event] | Exception
MODEL = "scripted"
QUIET = 20
"""Looks in a row at which nothing moved."""


class Telling:
    """One run of the scripted source. What the test says here the source yields, in order, as fast as the pump takes it."""

    def __init__(self, request: ChatRequest, run: Run) -> None:
        self.request = request
        self.run = run
        self.yielded = 0
        self.entered = False
        self.closed = asyncio.Event()
        self._script: asyncio.Queue[Said] = asyncio.Queue()
        self._begun = False

    def say(self, *said: Said) -> None:
        """Events, iterables of events that are yielded without a pause, or an exception to raise."""
        for each in said:
            self._script.put_nowait(each)

    def begin(self) -> None:
        """Start, and open part 0 as text."""
        self._begun = True
        self.say(Started(self.run.id, self.request.model, self.run.created), Opened(0, "text"))

    def speak(self, *texts: str) -> None:
        """Deltas of part 0, which is opened if need be."""
        if not self._begun:
            self.begin()
        self.say(*(Delta(0, text) for text in texts))

    def flood(self, text: str, count: int) -> None:
        """So many deltas of part 0 without a pause."""
        if not self._begun:
            self.begin()
        self.say(Delta(0, text) for _ in range(count))

    def finish(self, reason: str = "stop") -> None:
        """Close part 0 and end well."""
        if not self._begun:
            self.begin()
        self.say(Closed(0), Finished(reason))

    def fail(
        self, code: str = "provider_error", message: str | None = None, *, retry_after: float | None = None
    ) -> None:
        """Give up, as a provider does."""
        self.say(Broken(code, message, retry_after=retry_after))

    async def events(self) -> AsyncGenerator[Event, None]:
        self.entered = True
        try:
            while True:
                said = await self._script.get()
                if isinstance(said, Exception):
                    raise said
                for event in (said,) if isinstance(said, Event) else said:
                    self.yielded += 1
                    yield event
                    if isinstance(event, TERMINAL):
                        return
        finally:
            self.closed.set()


class Scripted:
    """A source that says nothing by itself. Every run of it is a `Telling` that the test conducts."""

    def __init__(self) -> None:
        self.tellings: list[Telling] = []
        self._more = asyncio.Event()

    def __call__(self, request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        telling = Telling(request, run)
        self.tellings.append(telling)
        self._more.set()
        return telling.events()

    async def telling(self, number: int = 0) -> Telling:
        """The n-th run (from 0), as soon as it has begun."""
        while len(self.tellings) <= number:
            self._more.clear()
            await self._more.wait()
        return self.tellings[number]


@dataclass
class Watcher(Observer):
    """What the server told its observer."""

    ended: dict[str, Terminal] = field(default_factory=dict)
    left: list[tuple[str, str]] = field(default_factory=list)
    failures: list[tuple[str, BaseException]] = field(default_factory=list)
    raised: list[BaseException] = field(default_factory=list)
    turned_away: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    cold: list[str] = field(default_factory=list)
    troubles: list[BaseException] = field(default_factory=list)

    def run_ended(self, run: str, terminal: Terminal, seconds: float, entries: int) -> None:
        self.ended[run] = terminal

    def reader_left(self, run: str, departure: Departure) -> None:
        self.left.append((run, departure.reason))

    def request_failed(self, request_id: str, path: str, error: BaseException) -> None:
        self.failures.append((path, error))

    def connection_refused(self, cause: str) -> None:
        self.turned_away.append(cause)

    def connection_dropped(self, cause: str) -> None:
        self.dropped.append(cause)

    def provider_cold(self, provider: str) -> None:
        self.cold.append(provider)

    def background_failed(self, error: BaseException) -> None:
        self.troubles.append(error)

    def source_raised(self, run: str, error: BaseException) -> None:
        self.raised.append(error)


class _Errors(logging.Handler):
    """Everything logged as an error while the server ran."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage() + (f" {record.exc_info[1]!r}" if record.exc_info else ""))


@dataclass
class Served:
    """A running server: where it is, what is inside, and what it said of itself."""

    app: App
    host: uvicorn.Server
    port: int
    source: Scripted
    seen: Watcher
    logged: list[str]
    clock: Clock
    """The time by which every limit of the server goes, unless it was started in real time."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/chat/ws"

    @property
    def runs(self) -> Runs:
        return self.app.service.runs

    def run(self, run_id: str) -> RunHandle:
        return self.runs.by_id[run_id]

    @property
    def only(self) -> RunHandle:
        """The one run there is."""
        (handle,) = self.runs.by_id.values()
        return handle

    @property
    def cancelled(self) -> tuple[str, str, str]:
        """The one run that has ended, by a cancel: its id, by whom, and how well its tokens are known."""
        ((run, end),) = self.seen.ended.items()
        assert isinstance(end, Cancelled)
        assert isinstance(end.usage, Usage)
        return run, end.by, end.usage.grade

    def tick(self, seconds: float) -> None:
        """Let so many seconds pass, then enforce what is due and give the usual heartbeats.

        The server's own ticker goes on beside this, by the same clock, and finds nothing that is not due.
        """
        Watchdog(self.runs).tick(self.clock.turn(seconds))

    def later(self, seconds: float) -> None:
        """What the limits of connections have to say so many seconds from now."""
        assert isinstance(self.host, Host)
        self.host.connections.sweep(asyncio.get_running_loop().time() + seconds)

    async def telling(self, number: int = 0) -> Telling:
        return await self.source.telling(number)

    async def attended(self, count: int, run_id: str | None = None) -> RunHandle:
        """The run, once it has so many readers."""
        await until("there is a run", lambda: bool(self.runs.by_id))
        handle = self.run(run_id) if run_id else self.only
        await until(f"{count} readers are attached", lambda: len(handle.log.readers) == count)
        return handle

    async def stuck(self, handle: RunHandle) -> None:
        """The source waits for its readers, and a reader for its client: nothing has moved in a while, nor will."""
        seen: list[int] = []

        def still() -> bool:
            paused = any(_write_paused(connection) for connection in self.host.server_state.connections)
            seen.append(sum(reader.offset for reader in handle.log.readers))
            return paused and handle.log.waiting_for_room and len(seen) > QUIET and len(set(seen[-QUIET:])) == 1

        await until("a stopped reader holds the source back", still)

    async def quiet(self) -> None:
        """No request is being answered any more, by a task or by callbacks."""
        state = self.host.server_state
        await until(
            "every response is over",
            lambda: not state.tasks and not any(getattr(each, "_lines", None) for each in state.connections),
        )

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncGenerator[httpx2.AsyncClient]:
        async with http_client(self.url, **options) as client:
            yield client


def configured(
    config: Config | None = None, *, routes: Mapping[str, Mapping[str, Any]] | None = None, **server: Any
) -> Config:
    """The default configuration with some settings of `[server]`, and of single routes by path, replaced."""
    config = config or Config()
    route: tuple[RouteConfig, ...] = tuple(
        msgspec.structs.replace(each, **(routes or {}).get(each.path, {})) for each in config.route
    )
    return msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, **server), route=route)


def upstream(base_url: str) -> Config:
    """A configuration whose model `fake` is what the provider at `base_url` (with `/v1`) has for a model."""
    return Config(models={"fake": ModelConfig(targets=(f"{base_url}#fake",))})


@asynccontextmanager
async def serving(
    config: Config | None = None,
    *,
    sources: Mapping[str, Source] | None = None,
    address: str = "127.0.0.1",
    send_buffer: int = 65_536,
    patience: int = PATIENCE,
    errors_expected: bool = False,
    real_time: bool = False,
    stock: Callable[[App], Any] | None = None,
    **options: Any,
) -> AsyncGenerator[Served]:
    """Serve `sources` (beside the scripted one, which is the default) on a free port of this machine, which answers at 127.0.0.1.

    Its limits go by `Served.clock`, and those of its connections by `Served.later`, so none is reached before the test says
    so, however slow the machine; in `real_time`, by the system's. With `stock`, what it makes of the app is served by
    uvicorn's own protocols instead of ours. Fails at the end where something was left behind, or where an error was logged
    that no test expected.
    """
    loop = asyncio.get_running_loop()
    before = asyncio.all_tasks()
    unhandled: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    source, seen, errors = Scripted(), Watcher(), _Errors()
    app = build(config, sources={MODEL: source, **(sources or {})}, observer=seen)
    clock = Clock()
    app.service.runs.memory = None  # however much this machine has left
    if not real_time:
        app.service.runs._clock = clock
    listener = listen(address, 0, send_buffer=send_buffer, patience=patience)
    host: uvicorn.Server
    if stock is None:
        host = Host(app, drain=0, **options)
    else:
        host = uvicorn.Server(
            uvicorn.Config(stock(app), access_log=False, log_config=None, timeout_graceful_shutdown=2, **options)
        )
    watched = Watched(host.config.app)
    host.config.app = watched
    host.config.load()
    host.lifespan = host.config.lifespan_class(host.config)
    served = Served(app, host, listener.getsockname()[1], source, seen, errors.lines, clock)
    logging.getLogger("uvicorn.error").addHandler(errors)
    try:
        await host.startup(sockets=[listener])
        if isinstance(host, Host) and not real_time:
            host.connections.stop()
        yield served
    finally:
        app.service.runs.abandon()
        await shut_down(host)
        await app.close()
        await settled(before)
        gc.collect()
        await asyncio.sleep(0)
        logging.getLogger("uvicorn.error").removeHandler(errors)
        loop.set_exception_handler(None)
    assert [handle.id for handle in served.runs.by_id.values() if handle.log.readers] == []
    assert [each.request for each in source.tellings if each.entered and not each.closed.is_set()] == []
    assert unhandled == []
    assert watched.broken == [], watched.broken
    if not errors_expected:
        assert errors.lines == []
        assert seen.failures == []


def _write_paused(connection: Any) -> bool:
    flow = getattr(connection, "flow", None)
    return not connection.writable.is_set() if flow is None else bool(flow.write_paused)


async def shut_down(host: uvicorn.Server) -> None:
    """What uvicorn does at its end, as soon as it can be done."""
    for server in host.servers:
        server.close()
    for connection in list(host.server_state.connections):
        connection.shutdown()
    state = host.server_state
    await until("connections and responses are over", lambda: not state.connections and not state.tasks)
    await host.lifespan.shutdown()


async def settled(before: set[asyncio.Task[Any]]) -> None:
    """Nothing runs in this loop but what ran before, and this."""
    expected = {*before, asyncio.current_task()}
    try:
        await until("every task of the server has ended", lambda: asyncio.all_tasks() <= expected)
    except AssertionError:
        left = sorted(f"{task.get_name()} {task.get_coro()!r}" for task in asyncio.all_tasks() - expected)
        raise AssertionError(f"the server left tasks behind: {left}") from None
