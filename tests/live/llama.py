"""The real llama.cpp server as a fixture: started once per session, watched through its `/slots`.

A request with the extra body fields of `ENDLESS` is answered for minutes, so that only a cancel can end it.
"""

import asyncio
import json
import signal
import subprocess
import tempfile
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.tools import venv_python
from tests.waiting import CEILING, until

SCRIPT = Path(__file__).with_name("llama_server.py")
MODEL = "tiny"
SLOTS = 4
ENDLESS: Mapping[str, object] = {"max_tokens": 1_000_000, "ignore_eos": True}


@contextmanager
def serve_llama(*, python: Path | None = None, slots: int = SLOTS) -> Generator[str]:
    """Run the server; yields its OpenAI base URL, `http://127.0.0.1:PORT/v1`. Raises RuntimeError as `llama_process` does."""
    with llama_process(python=python, slots=slots) as (base_url, _):
        yield base_url


@contextmanager
def llama_process(
    *, python: Path | None = None, slots: int = SLOTS, port: int = 0
) -> Generator[tuple[str, subprocess.Popen[str]]]:
    """Run the server, on any port that is free or on this one; yields its base URL and its process, which may be ill-treated.

    Raises RuntimeError with the server's own words when it does not start.
    """
    command = [str(python or venv_python("llama")), str(SCRIPT), "--slots", str(slots), "--port", str(port)]
    with (
        tempfile.TemporaryFile("w+") as words,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, text=True) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            first = process.stdout.readline()
            if not first.startswith("LISTEN "):
                words.seek(0)
                raise RuntimeError(f"llama.cpp did not start with {command[0]}:\n{words.read()[-2000:]}")
            yield first.removeprefix("LISTEN ").strip() + "/v1", process
        finally:
            process.send_signal(signal.SIGCONT)
            process.stdin.close()
            try:
                process.wait(CEILING)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture(scope="session")
def llama_server() -> Generator[str]:
    with serve_llama() as base_url:
        yield base_url


async def processing(base_url: str) -> int:
    """How many of the server's slots are generating right now."""
    slots = await asyncio.to_thread(_slots, base_url.removesuffix("/v1") + "/slots")
    return sum(slot["is_processing"] is True for slot in slots)


def _slots(url: str) -> list[dict[str, object]]:
    """Asked beside the loop: llama.cpp hangs up on a connection that says nothing for five seconds, and the loop may be busy
    with an endless answer.
    """
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=CEILING) as answer:
        slots: list[dict[str, object]] = json.load(answer)
    return slots


async def slots_idle(base_url: str) -> None:
    """Wait until nothing is being generated: what a cancel must lead to."""

    async def idle() -> bool:
        return await processing(base_url) == 0

    await until("every llama.cpp slot is idle", idle)
