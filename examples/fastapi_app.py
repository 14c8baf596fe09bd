"""One async generator as a resumable endpoint, on all three transports, in a FastAPI app.

uvicorn examples.fastapi_app:app
curl -N http://127.0.0.1:8000/ai/v1/chat/chunked -d '{"prompt": "Hello"}'
"""

from collections.abc import AsyncGenerator

from fastapi import FastAPI

from penstock import ChatRequest, Penstock


async def answer(request: ChatRequest) -> AsyncGenerator[str, None]:
    for word in ("You ", "said: ", request.prompt):
        yield word


penstock = Penstock(answer)
app = FastAPI(lifespan=penstock.lifespan)
app.mount("/ai", penstock)
