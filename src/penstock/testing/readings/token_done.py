"""The token/done dialect: tokens joined, until something is done. Every object is of one of four kinds, and nothing follows the last."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock.testing.readings.reading import Illegal, Reading
from penstock.testing.wire import Received

TOKEN = frozenset({"token", "done", "model", "timestamp"})
TOOL = frozenset({"tool_name", "tool_input", "tool_result", "token", "done"})
END = frozenset({"done", "total_tokens", "finish_reason", "response_time"})
ERROR = frozenset({"error", "error_code", "done", "retry_after"})


def read_token_done(messages: Iterable[Received]) -> Reading:
    """Tokens joined, until something is done. Raises `Illegal`."""
    reading = Reading()
    clock = 0.0
    for message in messages:
        token: Any = message.value
        members = token.keys()
        if reading.ending is not None:
            raise Illegal(f"{token!r} follows {reading.ending!r}")
        if token["done"]:
            if members not in (END, ERROR):
                raise Illegal(f"no end is like {token!r}")
            reading.ending = token
        elif "tool_name" in token:
            if members - {"tool_failed"} != TOOL or token["token"]:
                raise Illegal(f"no tool is told like {token!r}")
            reading.others.append(token)
        else:
            if members != TOKEN or not token["token"]:
                raise Illegal(f"no token is like {token!r}")
            if token["timestamp"] < clock:
                raise Illegal(f"{token!r} was said before the one in front of it")
            clock = token["timestamp"]
            reading.part(0, 0, "text").text += token["token"]
    return reading


def whole_token_done(value: Any) -> str:
    """The words of choice 0 in a whole answer."""
    return str(value["token"])
