"""Ollama's own API, `/api/chat`: what it is asked, and how its lines are read.

Ollama speaks OpenAI's chat as well, but loses there what it knows: `num_ctx` and other options, `keep_alive`, thinking in degrees.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.core.request import ChatRequest
from penstock.sources import ollama_request
from penstock.sources.ollama_answer import AnswerParser
from penstock.sources.provider import HttpProvider, HttpSource, Question, without_version


class OllamaChat:
    """`POST /api/chat`, which `penstock.sources.ollama_request` translates into."""

    path = "/api/chat"
    root = ""
    media_type = "application/x-ndjson"
    calls: Mapping[str, str] = {"embeddings": "/v1/embeddings"}

    def credentials(self, api_key: str) -> Mapping[str, str]:
        """A server on one's own machine wants none; one behind a gateway, and Ollama's cloud, do."""
        return {"Authorization": f"Bearer {api_key}"}

    def headers(self, request: ChatRequest) -> Mapping[str, str]:
        return {}

    def question(self, model: str, request: ChatRequest, *, host: str) -> Question:
        return ollama_request.question(model, request, host=host)

    def parser(self, host: str, *, secret: str | None) -> AnswerParser:
        return AnswerParser(host, secret=secret)


class OllamaProvider(HttpProvider):
    """One Ollama server."""

    features: Mapping[str, bool] = {"audio": False}

    def __init__(self, base_url: str, *, api_key: str | None = None, headers: Mapping[str, str] | None = None):
        """`base_url` ends where `/api/chat` begins; a `/v1` at its end, where OpenAI's chat is, means the same server.
        Raises `ValueError`."""
        super().__init__(OllamaChat(), without_version(base_url), api_key=api_key, headers=headers)


def build(
    *, base_url: str, model: str, api_key: str | None = None, headers: Mapping[str, str] | None = None
) -> HttpSource:
    """A source for `model` at an Ollama `base_url`, with a pool of its own. Raises `ValueError` for a bad URL."""
    return OllamaProvider(base_url, api_key=api_key, headers=headers).source(model)
