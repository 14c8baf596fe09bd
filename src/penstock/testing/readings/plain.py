"""Words, wherever they stand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock.testing.readings.reading import Reading
from penstock.testing.wire import Received


def read_plain(messages: Iterable[Received]) -> Reading:
    """The words, wherever they stand."""
    reading = Reading()
    for message in messages:
        told: Any = message.value
        if "text" in told:
            reading.part(0, 0, "text").text += told["text"]
        else:
            reading.ending = told
    return reading


def whole_plain(value: Any) -> str:
    """The words of choice 0 in a whole answer."""
    return str(value["text"])
