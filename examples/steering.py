"""A source that listens while it speaks: it counts, and does what it is told in the middle of it.

    uvicorn examples.steering:app --port 8000
    curl -N http://127.0.0.1:8000/v1/chat/chunked -d '{"prompt": "count"}'

From another terminal, with an id from `penstock streams --url http://127.0.0.1:8000 list`:

    curl http://127.0.0.1:8000/v1/streams/st_…/input -d '{"step": -1}'
    curl http://127.0.0.1:8000/v1/streams/st_…/input -d '{"text": "stop"}'

On a WebSocket the same is `{"type": "input", "stream": "st_…", "body": {"step": -1}}`. Every reader sees what was said, as a
`note` with the topic `input`, before it sees what came of it.
"""

import asyncio
from collections.abc import AsyncGenerator

from penstock import ChatRequest, Penstock, Run

BEAT = 0.2
"""Seconds between two numbers."""


async def count(request: ChatRequest, run: Run) -> AsyncGenerator[str, None]:
    """Count from 0 until somebody says stop."""
    run.inbox.open()  # without this the server answers `input_not_accepted`
    number, step = 0, 1
    while True:
        while (said := run.inbox.waiting()) is not None:
            match said:
                case {"step": int(step)}:
                    yield f"\nnow by {step}:\n"
                case {"text": "stop"}:
                    yield f"\nstopped at {number}\n"
                    return
                case _:
                    yield '\nI understand {"step": 2} and {"text": "stop"}\n'
        yield f"{number} "
        number += step
        await asyncio.sleep(BEAT)


app = Penstock(count)
