"""The token/done dialect: tokens joined, until something is done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock.testing.readings.reading import Reading
from penstock.testing.wire import Received


def read_token_done(messages: Iterable[Received]) -> Reading:
    """Tokens joined, until something is done."""
    reading = Reading()
    for message in messages:
        token: Any = message.value
        if token["done"]:
            reading.ending = token
        elif "tool_name" in token:
            reading.others.append(token)
        else:
            reading.part(0, 0, "text").text += token["token"]
    return reading


def whole_token_done(value: Any) -> str:
    """The words of choice 0 in a whole answer."""
    return str(value["token"])
