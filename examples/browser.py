"""A chat of your own in a browser: this app serves the page `browser.html` and the answers it shows.

    uvicorn examples.browser:app --port 8000

Then open http://127.0.0.1:8000/. Ask, drop the connection, reload the page, stop the answer.
"""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Mount, Route

from penstock import ChatRequest, Penstock

BEAT = 0.1
"""Seconds between two words."""


async def parrot(request: ChatRequest) -> AsyncGenerator[str, None]:
    """Says what you said, slowly, ten times. Put your model here."""
    for time in range(1, 11):
        for word in f"{time}. {request.prompt}\n".split(" "):
            yield word + " "
            await asyncio.sleep(BEAT)


async def page(request: object) -> FileResponse:
    return FileResponse(Path(__file__).with_name("browser.html"))


answers = Penstock(parrot)
app = Starlette(routes=[Route("/", page), Mount("/", answers)], lifespan=answers.lifespan)
