"""Any server that speaks OpenAI's Responses: what it is asked, and how its answer is read."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.core.request import ChatRequest
from penstock.sources import responses_request
from penstock.sources.provider import EVENT_STREAM, HttpProvider, HttpSource, Question
from penstock.sources.responses_answer import AnswerParser


class OpenAIResponses:
    """`POST /responses`."""

    path = "/responses"
    root = "/v1"
    media_type = EVENT_STREAM
    calls: Mapping[str, str] = {"embeddings": "/embeddings"}

    def credentials(self, api_key: str) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {api_key}"}

    def headers(self, request: ChatRequest) -> Mapping[str, str]:
        return {}

    def question(self, model: str, request: ChatRequest, *, host: str) -> Question:
        """Always streamed; kept by the provider only where the client says `store`."""
        return responses_request.question(model, request, host=host)

    def parser(self, host: str, *, secret: str | None) -> AnswerParser:
        return AnswerParser(host, secret=secret)


class ResponsesProvider(HttpProvider):
    """One server that speaks Responses, and one key."""

    def __init__(self, base_url: str, *, api_key: str | None = None, headers: Mapping[str, str] | None = None):
        """`base_url` ends where `/responses` begins; without a path it gets `/v1`. Raises `ValueError`."""
        super().__init__(OpenAIResponses(), base_url, api_key=api_key, headers=headers)


def build(
    *, base_url: str, model: str, api_key: str | None = None, headers: Mapping[str, str] | None = None
) -> HttpSource:
    """A source for `model` at a `base_url` that speaks Responses, with a pool of its own. Raises `ValueError` for a bad URL."""
    return ResponsesProvider(base_url, api_key=api_key, headers=headers).source(model)
