"""Watches how late the event loop comes to its timers, and says where the code stands that holds it.

A beat on the loop, ten times a second, measures the lag. While the loop is held no beat comes, so a thread beside it notices, and
reads the loop's stack from outside. It costs two wake-ups a tenth of a second, whatever the number of runs.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence

HELD = 0.25
"""Seconds beyond which a late beat means that something held the loop."""
BEAT = 0.1
PLACES = 24
"""Places in the code of one stack, the innermost."""


class LoopWatch:
    """`on_lag(seconds)` is called on the loop with every beat, `on_hold(seconds, places)` once per hold.

    `on_hold` is called from the thread while the loop is held; or from the loop, with no places, where the thread was kept from
    running too, as by an extension that does not let go of the interpreter or by a machine that was asleep.
    """

    def __init__(
        self,
        *,
        on_lag: Callable[[float], None],
        on_hold: Callable[[float, Sequence[str]], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        self._on_lag = on_lag
        self._on_hold = on_hold
        self._clock = clock
        self._due = 0.0
        """When the next beat is to come."""
        self._told = 0.0
        """The beat that was due when the last hold was told of."""
        self._stop = threading.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Watch the running loop until `stop`."""
        loop = asyncio.get_running_loop()
        self._stop.clear()
        self._next(loop)
        self._thread = threading.Thread(
            target=self._watch, args=(loop, threading.get_ident()), name="penstock loop watch", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer. Called on the loop; idempotent."""
        self._stop.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    # -- on the loop -----------------------------------------------------------------------------------------------------

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = self._clock() + BEAT
        self._timer = loop.call_later(BEAT, self._beat, loop)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        due = self._due
        lag = max(0.0, self._clock() - due)
        self._on_lag(lag)
        if lag > HELD and self._told != due:
            self._told = due
            self._on_hold(lag, ())
        self._next(loop)

    # -- beside it -------------------------------------------------------------------------------------------------------

    def _watch(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        # A loop may end without a word, as that of a script does.
        while not self._stop.wait(BEAT) and not loop.is_closed():
            due = self._due
            lag = self._clock() - due
            if lag > HELD and self._told != due:
                self._told = due
                self._on_hold(lag, _places(thread))


def _places(thread: int) -> list[str]:
    """Where a thread is in the code, the innermost last."""
    frame = sys._current_frames().get(thread)
    stack = traceback.extract_stack(frame)[-PLACES:] if frame is not None else []
    return [f"{place.filename}:{place.lineno} in {place.name}" for place in stack]
