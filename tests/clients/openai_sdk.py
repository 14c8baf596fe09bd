"""Runs `openai_reader.py` beside this file under the openai version a test names."""

import asyncio
import atexit
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import pytest

from tests.tools import venv_python

SCRIPT = Path(__file__).with_name("openai_reader.py")
Version = Literal["2", "3"]

# Parametrize a test over both versions that are in use; the older one lives in an environment of its own.
BOTH_VERSIONS = [pytest.param("2", marks=pytest.mark.needs("openai2")), "3"]


class Reader:
    """The script under one Python, started when it is first asked; requests are read one after the other."""

    def __init__(self, python: str) -> None:
        self._process = subprocess.Popen(
            [python, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._asking = Lock()

    def ask(self, arguments: Sequence[str]) -> Iterator[dict[str, Any]]:
        """What it says about one request, up to and with the line that says how it ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._asking:
            self._process.stdin.write(json.dumps(arguments) + "\n")
            for line in self._process.stdout:
                said: dict[str, Any] = json.loads(line)
                yield said
                if "end" in said or "error" in said:
                    return
        raise RuntimeError(f"openai_reader.py ended with {self._process.wait()}; standard error says why")

    def close(self) -> None:
        """End it, and wait."""
        self._process.communicate()


@cache
def reader(python: str) -> Reader:
    """The one of this test process, which ends with it."""
    started = Reader(python)
    atexit.register(started.close)
    return started


async def read_with_openai(version: Version, base_url: str, *flags: str) -> list[dict[str, Any]]:
    """Everything the SDK handed to its user, in order; the last line says how it ended."""
    python = sys.executable if version == "3" else str(venv_python("openai2"))
    return await asyncio.to_thread(lambda: list(reader(python).ask([base_url, *flags])))


def content(lines: list[dict[str, Any]], *, choice: int = 0) -> str:
    """The text a user would have put together from the streamed lines."""
    pieces = [
        part["delta"].get("content") or ""
        for line in lines
        for part in line.get("choices", [])
        if part["index"] == choice
    ]
    return "".join(pieces)
