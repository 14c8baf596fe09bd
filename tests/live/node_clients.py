"""Runs the Node EventSource clients beside this file and hands over, line by line, what they say."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal

from tests.tools import NODE_CLIENTS

Client = Literal["eventsource", "fetch_event_source"]


class NodeClient:
    """One running script. See `node/report.mjs` for its options and lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def next_line(self) -> dict[str, Any]:
        """The next thing it says. Raises EOFError with its last words when it has ended."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            assert self._process.stderr is not None
            raise EOFError((await self._process.stderr.read()).decode())
        said: dict[str, Any] = json.loads(line)
        return said

    async def until_end(self) -> list[dict[str, Any]]:
        """Everything from here to its last line, `{"end": …}`, included."""
        lines = [await self.next_line()]
        while "end" not in lines[-1]:
            lines.append(await self.next_line())
        return lines

    def tab(self, state: Literal["hide", "show"]) -> None:
        """Hide or show the tab that `fetch_event_source` believes to be in."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{state}\n".encode())


@asynccontextmanager
async def node_client(client: Client, url: str, **options: object) -> AsyncGenerator[NodeClient]:
    """Start a client on `url`; it ends with the block at the latest."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        "node",
        str(NODE_CLIENTS / f"{client}.mjs"),
        json.dumps({"url": url, **options}),
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        limit=1 << 24,
    )
    try:
        yield NodeClient(process)
    finally:
        await process.communicate()  # closes its standard input, which it takes as the end
