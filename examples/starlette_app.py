"""One async generator as a resumable endpoint, on all three transports, in a Starlette app.

uvicorn examples.starlette_app:app
curl -N http://127.0.0.1:8000/ai/v1/chat/chunked -d '{"prompt": "Hello"}'
"""

from collections.abc import AsyncGenerator

from starlette.applications import Starlette
from starlette.routing import Mount

from penstock import ChatRequest, Penstock


async def answer(request: ChatRequest) -> AsyncGenerator[str, None]:
    for word in ("You ", "said: ", request.prompt):
        yield word


penstock = Penstock(answer)
app = Starlette(routes=[Mount("/ai", penstock)], lifespan=penstock.lifespan)
