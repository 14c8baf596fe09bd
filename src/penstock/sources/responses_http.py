"""Any server that speaks OpenAI's Responses: what it is asked, and how its answer is read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from penstock.core.request import ChatRequest
from penstock.sources import responses_request
from penstock.sources.parser import Parser
from penstock.sources.provider import EVENT_STREAM, HttpProvider, Question
from penstock.sources.responses_answer import LARGEST, Answer
from penstock.sources.sse_splitter import SseSplitter


class OpenAIResponses:
    """`POST /responses`."""

    path = "/responses"
    root = "/v1"
    media_type = EVENT_STREAM
    calls: Mapping[str, str] = {"embeddings": "/embeddings", "input_tokens": "/responses/input_tokens"}
    features: Mapping[str, bool] = {}

    def credentials(self, api_key: str) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {api_key}"}

    def headers(self, request: ChatRequest) -> Mapping[str, str]:
        return {}

    def question(self, model: str, request: ChatRequest, *, host: str) -> Question:
        """Always streamed; kept by the provider only where the client says `store`."""
        return responses_request.question(model, request, host=host)

    def parser(self, host: str, *, secret: str | None) -> Parser[Answer]:
        return Parser(Answer(host, secret=secret), partial(SseSplitter, LARGEST))


ResponsesProvider = partial(HttpProvider, OpenAIResponses())
"""One server that speaks Responses, and one key. `base_url` ends where `/responses` begins; without a path it gets `/v1`."""
