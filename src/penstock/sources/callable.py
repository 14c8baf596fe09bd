"""Your own async generator as a source: a model of your own, or any live feed.

It takes nothing, the request, or the request and the run, and yields text, bytes, dictionaries, or events where it wants a say
in everything. What it leaves out is added: the start, the parts, the end.
"""

from __future__ import annotations

import difflib
import inspect
import pkgutil
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from penstock.core.events import TERMINAL, Chunk, Closed, Delta, Event, Finished, Note, Opened, Started
from penstock.core.request import ChatRequest, Run
from penstock.core.source import Source

Feed = Callable[..., AsyncIterable[Any]]
"""`async def feed()`, `feed(request)` or `feed(request, run)`, with `yield` in it."""

MEDIA_TYPE = "application/octet-stream"


def build(target: str | Feed) -> Source:
    """A source from an async generator function, or from its name `package.module:function`.

    Raises `ValueError` where there is no such function, it is no async generator, or it asks for other parameters.
    """
    feed, name = (find(target), target) if isinstance(target, str) else (target, _name_of(target))
    arity = _arity(feed, name)

    def source(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        return _Telling(name, run).tell(feed(*(request, run)[:arity]))

    return source


def find(target: str) -> Feed:
    """Import what `package.module:function` names. Raises `ValueError` suggesting the nearest name, and whatever importing raises."""
    module_name, colon, attribute = target.partition(":")
    if not (module_name and colon and attribute):
        raise ValueError(f"{target!r} must be like package.module:function")
    missing = _first_missing(module_name)
    if missing:
        raise ValueError(f"{target!r}: no module is called {missing!r}{_nearest_module(missing)}")
    found: Any = import_module(module_name)
    for step in attribute.split("."):
        if not hasattr(found, step):
            raise ValueError(f"{target!r}: there is no {step!r} in {module_name}{_hint(step, dir(found))}")
        found = getattr(found, step)
    feed: Feed = found
    return feed


def _first_missing(module_name: str) -> str:
    """The shortest prefix of a dotted name that is no module; importing a module may import others, so this asks first."""
    steps = module_name.split(".")
    if not all(steps):
        return module_name
    prefixes = (".".join(steps[:count]) for count in range(1, len(steps) + 1))
    return next((prefix for prefix in prefixes if find_spec(prefix) is None), "")


def _nearest_module(missing: str) -> str:
    parent, _, last = missing.strip(".").rpartition(".")
    where = getattr(import_module(parent), "__path__", []) if parent else None
    return _hint(last, [module.name for module in pkgutil.iter_modules(where)])


def _hint(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _name_of(feed: Feed) -> str:
    name = getattr(feed, "__qualname__", None) or type(feed).__qualname__
    return str(name)


def _arity(feed: Feed, name: str) -> int:
    """How many of request and run the function wants: as many as it has parameters without a default."""
    if not callable(feed):
        raise ValueError(f"{name!r} is not a function")
    if not inspect.isasyncgenfunction(feed):
        if inspect.iscoroutinefunction(feed):
            raise ValueError(f"{name!r} is a coroutine function; it must yield what it says")
        if inspect.isgeneratorfunction(feed):
            raise ValueError(f"{name!r} is a plain generator; write it with async def")
    parameters = inspect.signature(feed).parameters.values()
    wanted = [each for each in parameters if each.default is each.empty]
    if any(each.kind is each.KEYWORD_ONLY for each in wanted):
        raise ValueError(
            f"{name!r} has a keyword parameter without a default; it gets the request and the run, by position"
        )
    if any(each.kind is each.VAR_POSITIONAL for each in wanted):
        return 2
    arity = sum(each.kind is not each.VAR_KEYWORD for each in wanted)
    if arity > 2:
        raise ValueError(f"{name!r} wants {arity} arguments; it may take none, the request, or the request and the run")
    return arity


class _Telling:
    """One run of a feed: what is open, and what was said."""

    def __init__(self, name: str, run: Run):
        self._name = name
        self._run = run
        self._started = False
        self._next = 0
        self._text: int | None = None
        self._data: int | None = None

    async def tell(self, feed: AsyncIterable[Any]) -> AsyncGenerator[Event, None]:
        """Everything the feed says, as events. Closes the feed, where it can be closed. Raises `TypeError` for what cannot be iterated."""
        if not isinstance(feed, AsyncIterable):
            raise TypeError(f"{self._name!r} gave {type(feed).__name__}, which cannot be iterated with async for")
        try:
            async for said in feed:
                if type(said) is str and self._text is not None:
                    if said:
                        yield Delta(self._text, said)
                    continue
                last = isinstance(said, TERMINAL)
                for event in (*self._end(), said) if last else self._events(said):
                    yield event
                if last:
                    return
            for event in self._end():
                yield event
            yield Finished()
        finally:
            if isinstance(feed, AsyncGenerator):
                await feed.aclose()

    def _events(self, said: object) -> list[Event]:
        """What one yielded value means."""
        events: list[Event] = []
        if not self._started:
            self._started = True
            if not isinstance(said, Started):
                events.append(self._start())
        match said:
            case str():
                if self._text is None and said:
                    self._text = self._open(Opened(self._next, "text"), events)
                if self._text is not None and said:
                    events.append(Delta(self._text, said))
            case bytes() | bytearray() | memoryview():
                if self._data is None:
                    self._data = self._open(Opened(self._next, "binary", media_type=MEDIA_TYPE), events)
                events.append(Chunk(self._data, bytes(said)))
            case dict():
                events.append(Note("data", said))
            case Opened():
                self._open(said, events)
            case _ if isinstance(said, Event):
                events.append(said)
            case _:
                raise TypeError(
                    f"{self._name!r} yielded {type(said).__name__}; it may yield str, bytes, dict and events of penstock"
                )
        return events

    def _start(self) -> Started:
        return Started(self._run.id, self._name, self._run.created)

    def _open(self, opened: Opened, events: list[Event]) -> int:
        events.append(opened)
        self._next = max(self._next, opened.part + 1)
        return opened.part

    def _end(self) -> list[Event]:
        """Close what was opened here; what the feed opened itself is its own to close."""
        events: list[Event] = [] if self._started else [self._start()]
        if self._text is not None:
            events.append(Closed(self._text, {"finish_reason": "stop"}))
        if self._data is not None:
            events.append(Closed(self._data))
        return events
