"""Anthropic's Messages API, and any server that speaks it: what it is asked, and how its answer is read."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.core.request import ChatRequest
from penstock.sources import anthropic_request
from penstock.sources.anthropic_answer import AnswerParser
from penstock.sources.provider import EVENT_STREAM, HttpProvider, HttpSource, Question, without_version

VERSION = "2023-06-01"
"""The only version of the API since then; new things come by `anthropic-beta`."""


class AnthropicMessages:
    """`POST /v1/messages`, which `penstock.sources.anthropic_request` translates into."""

    path = "/v1/messages"
    root = ""
    media_type = EVENT_STREAM
    calls: Mapping[str, str] = {"count_tokens": "/v1/messages/count_tokens"}

    def credentials(self, api_key: str) -> Mapping[str, str]:
        return {"x-api-key": api_key}

    def headers(self, request: ChatRequest) -> Mapping[str, str]:
        """The version, and the betas the client asked for."""
        asked = request.headers
        betas = asked.get("anthropic-beta")
        return {
            "anthropic-version": asked.get("anthropic-version") or VERSION,
            **({"anthropic-beta": betas} if betas else {}),
        }

    def question(self, model: str, request: ChatRequest, *, host: str) -> Question:
        return anthropic_request.question(model, request, host=host)

    def parser(self, host: str, *, secret: str | None) -> AnswerParser:
        return AnswerParser(host, secret=secret)


class AnthropicProvider(HttpProvider):
    """One server that speaks the Messages API, and one key."""

    features: Mapping[str, bool] = {"audio": False, "embeddings": False}

    def __init__(self, base_url: str, *, api_key: str | None = None, headers: Mapping[str, str] | None = None):
        """`base_url` ends where `/v1/messages` begins, as the clients of Anthropic have it; a `/v1` at its end is the same.
        Raises `ValueError`."""
        super().__init__(AnthropicMessages(), without_version(base_url), api_key=api_key, headers=headers)


def build(
    *, base_url: str, model: str, api_key: str | None = None, headers: Mapping[str, str] | None = None
) -> HttpSource:
    """A source for `model` at an Anthropic `base_url`, with a pool of its own. Raises `ValueError` for a bad URL."""
    return AnthropicProvider(base_url, api_key=api_key, headers=headers).source(model)
