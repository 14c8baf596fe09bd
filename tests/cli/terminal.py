"""A command on a pseudo-terminal: what it shows, and the keys pressed in it."""

import asyncio
import codecs
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from fcntl import ioctl
from pathlib import Path

from tests.waiting import CEILING, until

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[()][A-Z0-9]")
OWN_THE_TERMINAL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
for each in (signal.SIGINT, signal.SIGHUP):
    signal.signal(each, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""As a shell begins a job. Both signals may be ignored where the tests run, in the background or under nohup, and would stay so."""
QUIET = 20
"""Looks in a row."""
CTRL_C = "\x03"
CTRL_D = "\x04"


class Terminal:
    """Everything the command has written, escape sequences included, in `raw`; without them in `text`."""

    def __init__(self, process: asyncio.subprocess.Process, master: int):
        self.process = process
        self.raw = ""
        self._master = master
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._grown = asyncio.Event()
        self._over = False
        self.hung_up = False
        asyncio.get_running_loop().add_reader(master, self._read)

    @property
    def text(self) -> str:
        return ESCAPE.sub("", self.raw).replace("\r", "")

    async def shows(self, wanted: str, *, after: int = 0) -> int:
        """Wait until the text holds `wanted` behind position `after`; returns the position behind it."""
        try:
            async with asyncio.timeout(CEILING):
                while (found := self.text.find(wanted, after)) < 0:
                    if self._over:
                        break
                    self._grown.clear()
                    await self._grown.wait()
        except TimeoutError:
            found = -1
        if found < 0:
            raise AssertionError(f"{wanted!r} was never shown; what was: {self.text[-2000:]!r}")
        return found + len(wanted)

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    async def waits(self) -> None:
        """Wait until the command sleeps and stays asleep: a signal between its prompt and its last sleep is seen at the next key
        only, and it may have slept before, until its prompt was taken.
        """
        seen: list[bool] = []

        def settled() -> bool:
            seen.append(self._sleeps())
            return len(seen) > QUIET and all(seen[-QUIET:])

        await until("the command waits for a key", settled)

    def _sleeps(self) -> bool:
        stat = Path(f"/proc/{self.process.pid}/stat")
        if stat.exists():
            return stat.read_text().rpartition(") ")[2].startswith("S")
        shown = subprocess.run(
            ["ps", "-o", "stat=", "-p", str(self.process.pid)], check=True, capture_output=True, text=True
        )
        return shown.stdout.startswith("S")

    async def ended(self) -> int:
        """Wait for the end of the command; returns its exit code."""
        async with asyncio.timeout(CEILING):
            return await self.process.wait()

    def _read(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except OSError:
            data = b""  # Linux says EIO where the other side of a pseudo-terminal is gone
        if data:
            self.raw += self._decoder.decode(data)
        else:
            self._over = True
            self.close()
        self._grown.set()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._master)

    def hang_up(self) -> None:
        """Close the terminal beneath the command."""
        self.close()
        os.close(self._master)
        self.hung_up = True


@asynccontextmanager
async def terminal(
    command: Sequence[str], environ: Mapping[str, str], *, columns: int = 100
) -> AsyncIterator[Terminal]:
    """Run a command as the foreground job of a terminal of its own; it is killed if it is still there at the end."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWN_THE_TERMINAL),
        *command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**environ, "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(slave)
    shown = Terminal(process, master)
    try:
        yield shown
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        if not shown.hung_up:
            shown.close()
            os.close(master)
