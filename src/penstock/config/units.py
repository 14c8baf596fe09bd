"""Values that are written in more than one way in the file: durations, sizes, secrets, what happens on disconnect."""

from __future__ import annotations

import re
from typing import Literal

What = Literal["cancel", "grace", "finish"]

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|min|h)?", re.ASCII)
_SECONDS = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_SIZE = re.compile(r"([0-9]+) ?(B|KiB|MiB|GiB|kB|KB|MB|GB)?", re.ASCII)
_BYTES = {None: 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 1000, "KB": 1000, "MB": 10**6, "GB": 10**9}


class Seconds(float):
    """A time in seconds; in the file a number, or text as in `"300s"`, `"5m"`, `"250ms"`."""

    @classmethod
    def read(cls, value: object) -> Seconds:
        """Raises `ValueError` for what is no time."""
        if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
            return cls(float(match[1]) * _SECONDS[match[2]])
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
            return cls(value)
        raise ValueError(f'{_shown(value)} is no time; write seconds as a number, or text like "90s", "5m", "250ms"')

    def __str__(self) -> str:
        for unit, size in (("h", 3600), ("m", 60)):
            if self >= size and self % size == 0:
                return f"{self / size:g}{unit}"
        return f"{float(self):g}s"


SHORTEST = Seconds(0.01)
"""No limit that is looked at all the time is below this."""


class Bytes(int):
    """A size in bytes; in the file a number, or text as in `"64KiB"`, `"8MiB"`, `"1GB"`."""

    @classmethod
    def read(cls, value: object) -> Bytes:
        """Raises `ValueError` for what is no size."""
        if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
            return cls(int(match[1]) * _BYTES[match[2]])
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        raise ValueError(f'{_shown(value)} is no size; write bytes as a whole number, or text like "64KiB", "8MiB"')

    def __str__(self) -> str:
        for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
            if self >= size and self % size == 0:
                return f"{self // size:d}{unit}"
        return f"{int(self):d}"


class Secret:
    """A key nobody prints by accident. In the file `"env:NAME"`, `"file:PATH"`, or the key itself."""

    __slots__ = ("_value",)

    def __init__(self, value: str):
        self._value = value

    def reveal(self) -> str:
        """The key itself, for the header it belongs in."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class OnDisconnect:
    """When the last reader leaves: in the file `"cancel"`, `"finish"`, `"grace"`, `"grace:90s"` or `{ grace = "90s" }`."""

    __slots__ = ("grace", "what")

    def __init__(self, what: What, grace: float = 60.0):
        self.what: What = what
        self.grace = Seconds(grace)
        """Seconds that `grace` waits for a reader to come back."""

    @classmethod
    def read(cls, value: object) -> OnDisconnect:
        """Raises `ValueError` for what is none of the forms."""
        match value:
            case "cancel" | "finish" | "grace":
                return cls(value)
            case str() if value.startswith("grace:"):
                return cls("grace", Seconds.read(value.removeprefix("grace:").strip()))
            case {"grace": time, **rest} if not rest:
                return cls("grace", Seconds.read(time))
        raise ValueError(f'{_shown(value)} is no choice; there are "cancel", "finish", "grace" and "grace:60s"')

    def __str__(self) -> str:
        return f"grace {self.grace}" if self.what == "grace" else self.what

    def __repr__(self) -> str:
        return f"OnDisconnect({self.what!r}, {float(self.grace):g})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OnDisconnect) and (other.what, other.grace) == (self.what, self.grace)

    def __hash__(self) -> int:
        return hash((self.what, self.grace))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
