"""A program of the terminal that is shown an answer: what it has written so far, and how it ended."""

import asyncio
import codecs
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path


class Program:
    """One running program; `text` is what it has written so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.text = ""
        self.complaint = ""
        self._decode = codecs.getincrementaldecoder("utf-8")().decode

    async def shows(self, wanted: str) -> None:
        """Wait until it has written this."""
        assert self.process.stdout is not None
        while wanted not in self.text:
            piece = await self.process.stdout.read(65_536)
            if not piece:
                raise AssertionError(f"it ended before it showed {wanted!r}: {self.text!r}")
            self.text += self._decode(piece)

    async def ended(self) -> int:
        """Its exit code; `text` and `complaint` are then whole."""
        rest, complaint = await self.process.communicate()
        self.text += self._decode(rest, True)
        self.complaint = complaint.decode() if complaint else ""
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def program(
    *command: str | Path, quiet: bool = False, environ: Mapping[str, str] | None = None
) -> AsyncGenerator[Program]:
    """Run a command without anybody's proxy, and without input; it is gone at the end of the block. `quiet` keeps its complaints."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, "NO_PROXY": "127.0.0.1", **(environ or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE if quiet else None,
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
