"""A client library in a process of its own, which is asked one thing after the other: importing it takes longer than asking.

The script it runs reads a JSON value per line and prints JSON lines, the last of which has `end` or `error`.
"""

import atexit
import json
import subprocess
import threading
from collections.abc import AsyncGenerator, Generator
from functools import cache
from pathlib import Path
from typing import Any

import anyio.to_thread

LAST = ("end", "error")


class Reader:
    """One script under one Python, started when it is first asked; a second question waits until the first is answered."""

    def __init__(self, python: str, script: Path, environ: tuple[tuple[str, str], ...] | None = None) -> None:
        self._command = [python, str(script)]
        self._environ = None if environ is None else dict(environ)
        self._asking = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(
                self._command, stdin=pipe, stdout=pipe, env=self._environ, text=True, bufsize=1
            )
        return self._process

    def ask(self, question: object) -> Generator[dict[str, Any]]:
        """What it says, up to and with the last line. Whoever stops listening before that ends it, and the next gets a new one."""
        with self._asking:
            process, whole = self._started(), False
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps(question) + "\n")
                for line in process.stdout:
                    if not line.startswith("{"):  # some libraries print advice
                        continue
                    said: dict[str, Any] = json.loads(line)
                    whole = any(name in said for name in LAST)
                    yield said
                    if whole:
                        return
                raise RuntimeError(f"{self._command[1]} ended with {process.wait()}; standard error says why")
            finally:
                if not whole:
                    process.kill()
                    self.close()

    async def lines(self, question: object) -> AsyncGenerator[dict[str, Any]]:
        """The same, while the loop goes on."""
        answer = self.ask(question)
        try:
            while (line := await anyio.to_thread.run_sync(next, answer, None)) is not None:
                yield line
        finally:
            answer.close()

    def close(self) -> None:
        """End it, if it was started, and wait."""
        if self._process is not None:
            self._process.communicate()
            self._process = None


@cache
def reader(python: str, script: Path, environ: tuple[tuple[str, str], ...] | None = None) -> Reader:
    """The one of this test process, which ends with it."""
    started = Reader(python, script, environ)
    atexit.register(started.close)
    return started
