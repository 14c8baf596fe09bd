"""Words, wherever they stand, and one object that says how they end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock.testing.readings.reading import Illegal, Reading
from penstock.testing.wire import Received


def read_plain(messages: Iterable[Received]) -> Reading:
    """The words, wherever they stand. Raises `Illegal` for anything behind the end, and for an end of no known kind."""
    reading = Reading()
    for message in messages:
        told: Any = message.value
        if reading.ending is not None:
            raise Illegal(f"{told!r} follows {reading.ending!r}")
        if "text" in told:
            reading.part(0, 0, "text").text += told["text"]
        elif told in ({"done": True}, {"cancelled": True}) or set(told) == {"error"}:
            reading.ending = told
        else:
            raise Illegal(f"no end is like {told!r}")
    return reading


def whole_plain(value: Any) -> str:
    """The words of choice 0 in a whole answer."""
    return str(value["text"])
