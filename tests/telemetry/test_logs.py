"""The log: its two forms, its levels, and what must never be in it."""

import io
import json
import logging
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest

from penstock.core.errors import TABLE, fault
from penstock.core.events import Cancelled, Failed, Finished, Terminal, Usage
from penstock.core.observer import REQUEST_ID, Departure, Observer, Origin
from penstock.core.request import ChatRequest, Principal
from penstock.telemetry.logs import LINES, LogObserver, configure, listening

CANARY = "sk-canary-0xC0FFEE"
RUN = "st_aaaaaaaaaaaaaaaaaaaaaaaaaa"
ASKED = ChatRequest(model="demo", messages=({"role": "user", "content": CANARY},), params={"user": CANARY})


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """The process's logging as it was, after the test."""
    root = logging.getLogger()
    kept = root.handlers[:], root.level
    names = ("penstock", "uvicorn")
    levels = [logging.getLogger(name).level for name in names]
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    for handler in kept[0]:
        root.addHandler(handler)
    root.setLevel(kept[1])
    for name, level in zip(names, levels, strict=True):
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(False)
    LINES.set_up((), io.StringIO(), logging.CRITICAL)


class Log(io.StringIO):
    """What was logged, as text and as objects."""

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    @property
    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]


def logging_to(form: str = "json", level: str = "debug") -> Log:
    log = Log()
    configure(form, level, stream=log)
    return log


def deep(message: str) -> None:
    try:
        raise KeyError(message)
    except KeyError as cause:
        raise ValueError(f"cannot do {message}") from cause


def raised(message: str) -> ValueError:
    try:
        deep(message)
    except ValueError as error:
        return error
    raise AssertionError


def departed(reason: str) -> Departure:
    return Departure(transport="sse", reason=reason, at=7, cursor=f"{RUN}:a1:7", owed=1024, share=0.5, seconds=2.0)


def tell_everything(observer: Observer) -> None:
    """Call every point of an observer, with the canary wherever a client's or a provider's words may be."""
    observer.run_started(RUN, ASKED, Principal("alice"), Origin())
    observer.reader_attached(RUN, 0, "sse")
    observer.target_chosen(RUN, "openai/gpt-4.1-mini", "order")
    observer.target_failed(RUN, "openai/gpt-4.1-mini", "provider_unreachable")
    observer.first_word(RUN, 0.25)
    observer.source_raised(RUN, raised(CANARY))
    observer.source_abandoned(RUN)
    observer.background_failed(raised(CANARY))
    observer.provider_cold("openai")
    for reason in ("done", "left", "stalled", "slow"):
        observer.reader_left(RUN, departed(reason))
    observer.source_paused(RUN, 0.5)
    observer.tokens_counted(RUN, Usage(12, 9, "reported"))
    observer.resumed("replayed")
    observer.refused("stream_not_found", "/v1/streams/{stream}")
    observer.connection_refused("full")
    observer.connection_dropped("head_timeout")
    observer.loop_held(0.3, ["app.py:7 in handler"])
    observer.run_ended(RUN, Finished("stop"), 1.5, 9)
    observer.run_ended(RUN, Cancelled("client"), 1.5, 9)
    observer.run_ended(RUN, Failed(fault("provider_error", f"the provider said {CANARY}")), 1.5, 9)
    observer.source_stopped(RUN, Cancelled("client"), 0.01)
    observer.run_forgotten(RUN, 0.5)
    observer.request_failed("req_1", "/v1/streams", raised(CANARY))


def test_every_point_of_an_observer_is_one_line() -> None:
    log = logging_to()
    tell_everything(LogObserver())
    points = {name for name in vars(Observer) if not name.startswith("_")}
    assert points - set(vars(LogObserver)) == set()
    assert log.events == [
        "run started",
        "reader attached",
        "target chosen",
        "target failed",
        "first word",
        "source raised",
        "source left behind: it did not close in time",
        "something in the background failed",
        "a provider that is to be warm could not be reached; penstock check shows its address",
        *["reader left"] * 4,
        "source waited for readers",
        "tokens",
        "reader resumed",
        "refused",
        "connection refused",
        "connection dropped",
        "the event loop is held",
        *["run ended"] * 3,
        "source stopped",
        "run forgotten",
        "request failed",
    ]
    assert {line.get("stream", line.get("request_id")) for line in log.lines} == {RUN, "req_1", None}


@pytest.mark.parametrize("form", ["json", "console"])
def test_nothing_that_was_said_is_ever_in_the_log(form: str) -> None:
    log = logging_to(form)
    tell_everything(LogObserver())
    logging.getLogger("some.library").debug("sending %s", CANARY)
    logging.getLogger("websockets.server").info("< TEXT %s", CANARY)
    try:
        deep(CANARY)
    except ValueError:
        logging.getLogger("some.library").exception("it failed")
        logging.getLogger("uvicorn.error").warning("it failed", exc_info=True)
    assert "canary" not in log.getvalue()
    assert log.getvalue().count("it failed") == 2


def test_an_exception_is_its_type_its_causes_and_its_places_in_the_code() -> None:
    log = logging_to()
    LogObserver().source_raised(RUN, raised(CANARY))
    (line,) = log.lines
    assert line["error"] == "ValueError"
    assert [place.rpartition("/")[2].split(":")[0] + " " + place.rpartition(" ")[2] for place in line["trace"]] == [
        "test_logs.py raised",
        "test_logs.py deep",
        "because of KeyError KeyError",
        "test_logs.py deep",
    ]


def test_a_group_of_exceptions_names_its_members() -> None:
    log = logging_to()
    LogObserver().source_raised(RUN, ExceptionGroup("both", [ValueError(CANARY), OSError(CANARY)]))
    assert [line["error"] for line in log.lines] == ["ExceptionGroup(ValueError, OSError)"]


@pytest.mark.parametrize(("code", "level"), [("provider_unreachable", "warning"), ("not_carried", "debug")])
def test_a_target_that_fails_is_a_warning_unless_the_question_is_to_blame(code: str, level: str) -> None:
    log = logging_to()
    LogObserver().target_failed(RUN, "openai/gpt-4.1-mini", code)
    (line,) = log.lines
    del line["timestamp"]
    assert line == {
        "level": level,
        "event": "target failed",
        "stream": RUN,
        "target": "openai/gpt-4.1-mini",
        "code": code,
    }


@pytest.mark.parametrize(
    ("terminal", "level", "fields"),
    [
        (Finished("length"), "info", {"kind": "finished", "reason": "length"}),
        (Cancelled("grace"), "info", {"kind": "cancelled", "by": "grace"}),
        (Failed(fault("provider_overloaded")), "warning", {"kind": "failed", "code": "provider_overloaded"}),
        (Failed(fault("source_failed")), "error", {"kind": "failed", "code": "source_failed"}),
    ],
)
def test_the_end_of_a_run_says_how_and_how_long(terminal: Terminal, level: str, fields: dict[str, str]) -> None:
    log = logging_to()
    LogObserver().run_ended(RUN, terminal, 1.23456, 9)
    (line,) = log.lines
    line.pop("timestamp")
    assert line == {"level": level, "event": "run ended", "stream": RUN, "seconds": 1.235, "entries": 9, **fields}


def test_what_went_wrong_in_every_code_is_loud_enough() -> None:
    log = logging_to(level="warning")
    for code in TABLE:
        LogObserver().run_ended(RUN, Failed(fault(code)), 1.0, 1)
    assert [line["code"] for line in log.lines] == list(TABLE)


def test_a_level_keeps_the_lower_ones_out() -> None:
    log = logging_to(level="warning")
    tell_everything(LogObserver())
    assert {line["level"] for line in log.lines} == {"warning", "error"}


def test_libraries_speak_in_the_same_form_when_they_warn() -> None:
    log = logging_to()
    logging.getLogger("some.library").warning("careful: %s", "now")
    (line,) = log.lines
    assert (line["event"], line["level"], line["logger"]) == ("careful: now", "warning", "some.library")


def test_the_id_of_the_request_is_on_every_line() -> None:
    log = logging_to()
    context = copy_context()
    context.run(REQUEST_ID.set, "req_9")
    context.run(LogObserver().run_started, RUN, ASKED, Principal(), Origin())
    (line,) = log.lines
    assert (line["request_id"], line["stream"]) == ("req_9", RUN)


def test_a_client_cannot_write_lines_of_its_own() -> None:
    log = logging_to("console")
    request = ChatRequest(model="x\n12:00 forged\x1b[31m" + "y" * 1000, messages=ASKED.messages)
    LogObserver().run_started(RUN, request, Principal(), Origin())
    text = log.getvalue()
    assert (text.count("\n"), "\x1b" in text, len(text) < 400) == (1, False, True)


def test_json_is_for_machines_and_its_lines_begin_alike() -> None:
    log = logging_to()
    listening("http://127.0.0.1:8420", model="demo")
    (line,) = log.lines
    assert list(line) == ["timestamp", "level", "event", "url", "model"]


SAY = "from penstock.telemetry import logs; logs.configure('auto', 'info'); logs.listening('http://x', model='demo')"


def on_a_terminal(**environ: str) -> str:
    """What `SAY` writes to a terminal."""
    master, slave = pty.openpty()
    try:
        kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
        try:
            command = [sys.executable, "-c", SAY]
            subprocess.run(command, stderr=slave, check=True, env={**kept, "TERM": "xterm", **environ})
        finally:
            os.close(slave)
        return b"".join(iter(lambda: read(master), b"")).decode()
    finally:
        os.close(master)


def read(master: int) -> bytes:
    """A piece of what was written to a terminal; nothing at the end, for which Linux has an error."""
    try:
        return os.read(master, 65536)
    except OSError:
        return b""


def test_a_terminal_gets_colour_unless_it_or_its_user_wants_none() -> None:
    assert "\x1b[" in on_a_terminal()
    for environ in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        text = on_a_terminal(**environ)
        assert ("listening" in text, "\x1b[" in text, text.startswith("{")) == (True, False, False)


def test_without_a_terminal_auto_is_json() -> None:
    done = subprocess.run([sys.executable, "-c", SAY], check=True, capture_output=True, text=True)
    assert json.loads(done.stderr)["event"] == "listening"


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", ""], ids=["full", "closed", "a pipe nobody reads"])
def test_a_log_that_cannot_be_written_costs_the_log_and_nothing_else(redirection: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    say = f"import logging; {SAY}; logs.listening('y', model='demo'); logging.getLogger('uvicorn').error('z'); print('alive')"
    try:
        done = subprocess.run(
            ["sh", "-c", f'exec "$1" -c "$2" {redirection}', "sh", sys.executable, say],
            check=False,
            stdout=subprocess.PIPE,
            stderr=writing,
            text=True,
        )
    finally:
        os.close(writing)
    assert done.stdout == "alive\n"
