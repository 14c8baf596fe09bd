"""A real `penstock serve` in a process of its own, on a port the system chose, and its log."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

CEILING = 30.0
PENSTOCK = (sys.executable, "-W", "error", "-m", "penstock")


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without anything that configures penstock."""
    ours = ("PENSTOCK_", "OPENAI_", "MISTRAL_", "GROQ_", "DEEPSEEK_", "OPENROUTER_", "GEMINI_", "OLLAMA_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours) and name not in UNWANTED}
    return {**kept, **more}


UNWANTED = {"PORT", "NO_COLOR", "COLUMNS", "LINES"}


class Served:
    """A running server: where it is, and every line of its log so far."""

    def __init__(self, process: asyncio.subprocess.Process):
        self.process = process
        self.url = ""
        self.lines: list[dict[str, Any]] = []
        self.raw = ""
        self._grown = asyncio.Event()

    async def follow(self) -> None:
        """Read the log to its end."""
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.raw += line.decode()
            self.lines.append(json.loads(line))
            self._grown.set()
        self._grown.set()

    async def logged(self, event: str, **fields: object) -> dict[str, Any]:
        """Wait for a line of the log about `event` with these fields."""
        async with asyncio.timeout(CEILING):
            while True:
                for line in self.lines:
                    if line["event"] == event and all(line.get(name) == value for name, value in fields.items()):
                        return line
                if self.process.returncode is not None:
                    raise AssertionError(f"the server ended without logging {event!r}:\n{self.raw}")
                self._grown.clear()
                await self._grown.wait()

    async def stop(self) -> int:
        """Ask it to end, as systemd would, and wait; returns its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(CEILING):
            return await self.process.wait()


@asynccontextmanager
async def serving(
    folder: Path, *flags: str, config: str = "", environ: Mapping[str, str] | None = None
) -> AsyncIterator[Served]:
    """Serve from `folder`, with `config` as its penstock.toml; drained in no time at the end."""
    (folder / "penstock.toml").write_text(config)
    process = await asyncio.create_subprocess_exec(
        *PENSTOCK,
        "serve",
        *flags,
        cwd=folder,
        env=clean_environment(**{"PENSTOCK_PORT": "0", "PENSTOCK_SERVER__DRAIN": "0", **(environ or {})}),
        stderr=asyncio.subprocess.PIPE,
    )
    served = Served(process)
    following = asyncio.create_task(served.follow())
    try:
        served.url = (await served.logged("listening"))["url"]
        yield served
        assert await served.stop() == 0, served.raw
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await following
