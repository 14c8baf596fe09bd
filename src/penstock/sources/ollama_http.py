"""Ollama's own API, `/api/chat`: what it is asked, and how its lines are read.

Ollama speaks OpenAI's chat as well, but loses there what it knows: `num_ctx` and other options, `keep_alive`, thinking in degrees.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from penstock.core.request import ChatRequest
from penstock.sources import ollama_request
from penstock.sources.line_splitter import LineSplitter
from penstock.sources.ollama_answer import Answer
from penstock.sources.parser import Parser
from penstock.sources.provider import HttpProvider, Question


class OllamaChat:
    """`POST /api/chat`, which `penstock.sources.ollama_request` translates into."""

    path = "/api/chat"
    root = ""
    media_type = "application/x-ndjson"
    calls: Mapping[str, str] = {"embeddings": "/v1/embeddings"}
    features: Mapping[str, bool] = {"audio": False}

    def credentials(self, api_key: str) -> Mapping[str, str]:
        """A server on one's own machine wants none; one behind a gateway, and Ollama's cloud, do."""
        return {"Authorization": f"Bearer {api_key}"}

    def headers(self, request: ChatRequest) -> Mapping[str, str]:
        return {}

    def question(self, model: str, request: ChatRequest, *, host: str) -> Question:
        return ollama_request.question(model, request, host=host)

    def parser(self, host: str, *, secret: str | None) -> Parser[Answer]:
        return Parser(Answer(host, secret=secret), LineSplitter)


OllamaProvider = partial(HttpProvider, OllamaChat())
"""One Ollama server. `base_url` ends where `/api/chat` begins; a `/v1` at its end, where OpenAI's chat is, means the same server."""
