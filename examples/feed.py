"""A live feed instead of a model: how busy this machine is, one dictionary per reading.

    uvicorn examples.feed:app --port 8000
    curl -N http://127.0.0.1:8000/v1/streams -d '{"prompt": "load", "readings": 5}'

Every dictionary arrives as a `note` with the topic `data`; a reader that was cut off gets the readings it missed.
In a browser `new EventSource("/v1/chat/stream?dialect=native&prompt=load&key=today")` starts the feed, and every other
page that opens the same URL joins it, since they share a key.
"""

import asyncio
import os
from collections.abc import AsyncGenerator

from penstock import Broken, ChatRequest, Penstock


async def load(request: ChatRequest) -> AsyncGenerator[dict[str, float], None]:
    """So many `readings` (60 unless the request says otherwise), one every `every` seconds (1)."""
    readings, every = request.params.get("readings", 60), request.params.get("every", 1)
    if not isinstance(readings, int) or not isinstance(every, int | float):
        raise Broken("invalid_request", "'readings' and 'every' must be numbers")
    for _ in range(readings):
        one, five, fifteen = os.getloadavg()
        yield {"one": round(one, 2), "five": round(five, 2), "fifteen": round(fifteen, 2)}
        await asyncio.sleep(every)


app = Penstock(load)
