"""The log: coloured lines on a terminal, one JSON object per line elsewhere, every library's messages in the same form.

What was asked and answered, and every key, stay out of it. Hence an exception is logged as its type and its places in the
code: its message may hold anything.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from penstock.core.errors import TABLE
from penstock.core.events import Cancelled, Failed, Finished, Terminal, Usage
from penstock.core.observer import REQUEST_ID, Departure, Observer, Origin
from penstock.core.request import ChatRequest, Principal

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
LONGEST = 128
"""Characters of a name or path that came from a client."""
FRAMES = 24
"""Places in the code of one exception, the innermost."""


def configure(form: str, level: str, *, stream: TextIO | None = None) -> bool:
    """Set up this process's log: `form` is `auto`, `console` or `json`. Returns whether it is for people."""
    stream = cast("TextIO", _Spout(stream or sys.stderr))
    console = form == "console" or (form == "auto" and stream.isatty())
    threshold = LEVELS[level]
    stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False) if console else _stamped
    shared: list[Processor] = [_with_request, stamp, _without_message]
    render = _for_people(stream) if console else _for_machines
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_levelled, *shared, _named],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _in_order,
                render,
            ],
        )
    )
    handler.addFilter(_quiet)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(threshold, logging.WARNING))
    logging.getLogger("uvicorn").setLevel(logging.INFO if level == "debug" else max(threshold, logging.WARNING))
    logging.captureWarnings(True)
    LINES.set_up([*shared, render], stream, threshold)
    return console


class Say(Protocol):
    """Writes one line."""

    def __call__(self, event: str, /, **fields: object) -> None: ...


def _unsaid(event: str, /, **fields: object) -> None:
    """The line is of a level that is not wanted."""


class Lines:
    """Our own lines. There are two to a run, and the ways of a library would cost more than all else of a short one."""

    def __init__(self) -> None:
        self.debug: Say = _unsaid
        self.info: Say = _unsaid
        self.warning: Say = _unsaid
        self.error: Say = _unsaid

    def set_up(self, processors: Sequence[Processor], stream: TextIO, threshold: int) -> None:
        """What makes a line of its fields, the last of them its text; where it goes; and the least level that is wanted."""
        for level, number in LEVELS.items():
            setattr(self, level, _saying(level, processors, stream) if number >= threshold else _unsaid)


def _saying(level: str, processors: Sequence[Processor], stream: TextIO) -> Say:
    def say(event: str, /, **fields: object) -> None:
        line: Any = {"timestamp": None, "level": level, "event": event, **fields}
        for process in processors:
            line = process(None, level, line)
        stream.write(f"{line}\n")

    return say


LINES = Lines()


class _Spout(io.TextIOBase):
    """Where the lines go. A stream that takes no more of them (a closed pipe, a full disk) costs the log, never a request."""

    def __init__(self, stream: TextIO | None):
        self._stream = stream
        """None where the process was started without one."""

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text) if self._stream is not None else 0
        except (OSError, ValueError):  # ValueError: somebody closed it
            return 0

    def flush(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                self._stream.flush()


def listening(url: str, *, model: str, models: Sequence[str] = (), access: str = "", metrics: str = "") -> None:
    """The server takes requests now. `model` answers where none is named, `access` says for whom, `metrics` has its own port."""
    known = {"models": [_clean(each) for each in models], "access": access} if access else {}
    elsewhere = {"metrics": metrics} if metrics else {}
    LINES.info("listening", url=url, model=_clean(model), **known, **elsewhere)


def reloaded(*, unchanged: list[str]) -> None:
    """The configuration was read anew; the settings in `unchanged` were changed in vain."""
    if unchanged:
        LINES.warning("configuration reloaded; some of it needs a restart", restart_for=unchanged)
    else:
        LINES.info("configuration reloaded")


def not_reloaded(reason: str) -> None:
    """The new configuration cannot be served; `reason` is what the server would have said at its start."""
    LINES.error("configuration not reloaded; the old one stays in force", reason=reason)


class LogObserver(Observer):
    """Every run from its first to its last moment. The model is named; what was said is not. Make it after `configure`."""

    def run_started(self, run: str, request: ChatRequest, principal: Principal, origin: Origin) -> None:
        LINES.info("run started", stream=run, model=_clean(request.model) or None, principal=_clean(principal.name))

    def target_chosen(self, run: str, target: str, why: str) -> None:
        LINES.debug("target chosen", stream=run, target=target, why=why)

    def target_failed(self, run: str, target: str, code: str) -> None:
        asked_wrongly = code in TABLE and TABLE[code].blame == "client"
        (LINES.debug if asked_wrongly else LINES.warning)("target failed", stream=run, target=target, code=_clean(code))

    def first_word(self, run: str, seconds: float) -> None:
        LINES.debug("first word", stream=run, seconds=round(seconds, 3))

    def run_ended(self, run: str, terminal: Terminal, seconds: float, entries: int) -> None:
        known = {"stream": run, "seconds": round(seconds, 3), "entries": entries}
        match terminal:
            case Finished():
                LINES.info("run ended", kind="finished", reason=_clean(terminal.reason), **known)
            case Cancelled():
                LINES.info("run ended", kind="cancelled", by=_clean(terminal.by), **known)
            case Failed():
                code = terminal.error.code
                # A server that goes interrupts runs as it was told to.
                ours = code in TABLE and TABLE[code].blame == "server" and code != "interrupted"
                (LINES.error if ours else LINES.warning)("run ended", kind="failed", code=_clean(code), **known)

    def source_abandoned(self, run: str) -> None:
        LINES.warning("source left behind: it did not close in time", stream=run)

    def loop_held(self, seconds: float, places: Sequence[str]) -> None:
        LINES.warning("the event loop is held", seconds=round(seconds, 3), trace=list(places))

    def source_raised(self, run: str, error: BaseException) -> None:
        LINES.error("source raised", stream=run, exc_info=error)

    def background_failed(self, error: BaseException) -> None:
        LINES.error("something in the background failed", exc_info=error)

    def provider_cold(self, provider: str) -> None:
        LINES.warning(
            "a provider that is to be warm could not be reached; penstock check shows its address", provider=provider
        )

    def source_stopped(self, run: str, terminal: Terminal, seconds: float) -> None:
        LINES.debug("source stopped", stream=run, seconds=round(seconds, 3))

    def source_paused(self, run: str, seconds: float) -> None:
        LINES.debug("source waited for readers", stream=run, seconds=round(seconds, 3))

    def tokens_counted(self, run: str, usage: Usage) -> None:
        LINES.debug("tokens", stream=run, input=usage.input, output=usage.output, grade=usage.grade)

    def run_forgotten(self, run: str, share: float) -> None:
        LINES.debug("run forgotten", stream=run, read=round(share, 3))

    def reader_attached(self, run: str, after: int, transport: str) -> None:
        LINES.debug("reader attached", stream=run, after=after, transport=transport)

    def reader_left(self, run: str, departure: Departure) -> None:
        say = {"done": LINES.debug, "left": LINES.info}.get(departure.reason, LINES.warning)
        say(
            "reader left",
            stream=run,
            cause=departure.reason,
            cursor=departure.cursor,
            owed=departure.owed,
            seconds=round(departure.seconds, 3),
            transport=departure.transport,
        )

    def resumed(self, result: str) -> None:
        LINES.debug("reader resumed", result=result)

    def refused(self, code: str, route: str) -> None:
        LINES.debug("refused", code=code, route=route or None)

    def connection_refused(self, cause: str) -> None:
        LINES.debug("connection refused", cause=cause)

    def connection_dropped(self, cause: str) -> None:
        LINES.debug("connection dropped", cause=cause)

    def request_failed(self, request_id: str, path: str, error: BaseException) -> None:
        LINES.error("request failed", request_id=_clean(request_id), path=_clean(path), exc_info=error)

    def server_leaving(self, live: int, accepting: float, seconds: float) -> None:
        LINES.info("stopping", live=live, accepting=accepting, seconds=round(seconds, 1))

    def server_refusing(self, live: int, seconds: float) -> None:
        if live:
            LINES.info("waiting for live runs", live=live, seconds=round(seconds, 1))

    def server_left(self, interrupted: int, seconds: float) -> None:
        (LINES.warning if interrupted else LINES.info)("stopped", interrupted=interrupted, seconds=round(seconds, 1))


def _quiet(record: logging.LogRecord) -> bool:
    """Below a warning libraries tell what they carry, so of those only the web server's steps pass."""
    return record.levelno >= (logging.INFO if record.name.startswith("uvicorn") else logging.WARNING)


def _with_request(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Say on whose behalf the line was written."""
    if request_id := REQUEST_ID.get():
        event.setdefault("request_id", request_id)
    return event


def _levelled(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event["level"] = method
    return event


def _stamped(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event["timestamp"] = datetime.now(UTC)
    return event


def _named(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Which library speaks."""
    record: logging.LogRecord | None = event.get("_record")
    if record is not None:
        event["logger"] = record.name
    return event


def _without_message(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """An exception as its type and its places in the code, its causes after it."""
    event.pop("stack_info", None)
    if (given := event.pop("exc_info", None)) is None:
        return event
    error = given if isinstance(given, BaseException) else _current(given)
    if error is not None:
        event["error"] = _type_of(error)
        event["trace"] = list(_places(error))
    return event


def _current(given: object) -> BaseException | None:
    """The exception that `exc_info` means: true for the one in hand, or what `sys.exc_info()` gave."""
    if isinstance(given, tuple):
        return given[1] if isinstance(given[1], BaseException) else None
    return sys.exc_info()[1] if given else None


def _places(error: BaseException) -> list[str]:
    places: list[str] = []
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        if following is not error:
            places.append(f"because of {_type_of(following)}")
        places += _frames(following.__traceback__)
        hidden = following.__suppress_context__
        following = following.__cause__ or (None if hidden else following.__context__)
    return places


def _frames(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)[-FRAMES:]
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]


def _type_of(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(error, BaseExceptionGroup):
        return f"{name}({', '.join(_type_of(inner) for inner in error.exceptions)})"
    return name


def _for_people(stream: TextIO) -> Processor:
    render = structlog.dev.ConsoleRenderer(colors=_coloured(stream, os.environ), pad_event_to=24)

    def lines(logger: WrappedLogger, method: str, event: EventDict) -> str:
        trace: list[str] = event.pop("trace", [])
        return "\n    ".join([str(render(logger, method, event)), *trace])

    return lines


def _coloured(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Colour for a terminal that has it, unless NO_COLOR says otherwise (no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def _for_machines(logger: WrappedLogger, method: str, event: EventDict) -> str:
    return orjson.dumps(event, default=_type_name, option=orjson.OPT_UTC_Z).decode()


def _in_order(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """What every line has comes first, so that a log can be read with the eyes too. Our own lines are begun so."""
    first = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
    return {**first, **event}


def _type_name(value: object) -> str:
    """What is written of a value that is no JSON."""
    return type(value).__name__


def _clean(text: str) -> str:
    """What a client may have chosen, short and without characters that a terminal obeys."""
    if text.isprintable() and len(text) <= LONGEST:
        return text
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:LONGEST])
