"""Every provider litellm reaches. Slower than speaking to a server directly, so only for those that have no other door.

litellm is imported with the first run, in a thread, since that takes seconds. Its retries and fallbacks are not used: ours
are stages. Nothing of its types leaves this file.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, AsyncIterable
from importlib import import_module
from typing import Any

import msgspec

from penstock.core.errors import Broken
from penstock.core.events import Event, Json, Note, Started
from penstock.core.request import ChatRequest, Run
from penstock.core.source import Source
from penstock.sources import provider_errors
from penstock.sources.foreign import readable
from penstock.sources.openai_answer import Answer
from penstock.sources.openai_chunks import ChatChunk, loosely_chunk
from penstock.sources.provider import spelled
from penstock.sources.translation import object_of, parts_of

Loose = Any  # what litellm gives; looked at, never passed on

PARAMETERS = frozenset(
    {
        *(
            "audio",
            "frequency_penalty",
            "function_call",
            "functions",
            "logit_bias",
            "logprobs",
            "max_completion_tokens",
        ),
        *("max_tokens", "modalities", "n", "parallel_tool_calls", "prediction", "presence_penalty", "reasoning_effort"),
        *("response_format", "safety_identifier", "seed", "service_tier", "stop", "temperature", "thinking"),
        *("tool_choice", "tools", "top_k", "top_logprobs", "top_p", "user", "verbosity", "web_search_options"),
    }
)
"""Request fields that may become arguments of litellm. All others go into the body alone: an `api_base` from a client would
send the server's key wherever the client likes."""

_BY_CLASS = {
    "APIConnectionError": "provider_unreachable",
    "AuthenticationError": "provider_auth",
    "ContentPolicyViolationError": "content_refused",
    "ContextWindowExceededError": "context_too_long",
    "NotFoundError": "provider_model_unknown",
    "PermissionDeniedError": "provider_auth",
    "RateLimitError": "provider_rate_limited",
    "ServiceUnavailableError": "provider_overloaded",
    "Timeout": "provider_error",
}


_REMOTE = re.compile(r"\s*(?!data:)[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_NAMES = re.compile(r"^(litellm\.\w+: )+(\w+Exception - )?")


def build(*, model: str) -> Source:
    """A source for a model under litellm's name for it, such as `anthropic/claude-haiku-4-5`."""

    def source(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        return _stream(model, request, run)

    return source


async def _stream(model: str, request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
    if request.params.get("n") not in (None, 1):
        raise Broken(
            "invalid_request", f"n must be 1 for {model}: litellm cuts all answers of a stream at the end of the first"
        )
    try:
        asked, hints = readable(request, "litellm", model)
        _refuse_fetching(asked)
    except Broken as problem:
        raise spelled(problem, request) from None
    left_out: list[Json] = [request.spelled(name) for name in hints]
    request = asked
    litellm = await asyncio.to_thread(_load)
    provider = f"{model.partition('/')[0]} (through litellm)"
    try:
        stream = await litellm.acompletion(**arguments(model, request))
    except Exception as problem:
        raise _broken(problem, provider, begun=False) from problem
    answer = Answer(provider)
    try:
        yield Started(run.id, model, run.created)
        if left_out:
            yield Note("left_out", {"fields": left_out})
        chunks = aiter(stream)
        begun = False
        while not answer.ended:
            events: list[Event] = []
            try:
                answer.take(chunk_of(await anext(chunks)), events)
            except StopAsyncIteration:
                answer.complete(events)
            except Exception as problem:
                raise _broken(problem, provider, begun=begun) from problem
            for event in events:
                begun = True
                yield event
        if answer.broken is not None:
            raise answer.broken
    finally:
        await _close(stream)


def _refuse_fetching(request: ChatRequest) -> None:
    """Raises `Broken(not_carried)` for a picture or a file behind a URL: for some providers litellm fetches it itself, and a
    client is not to choose what this server fetches."""
    for index, message in enumerate(request.messages):
        for place, part in enumerate(parts_of(message.get("content"))):
            for name, member in object_of(part).items():
                given = () if name in ("type", "text", "refusal") else (member, *object_of(member).values())
                if any(isinstance(each, str) and _REMOTE.match(each) for each in given):
                    raise Broken(
                        "not_carried",
                        f"litellm might fetch this {name[:32]} from the server's own network; send the data itself, as a data: URL",
                        param=f"messages[{index}].content[{place}]",
                    )


def _load() -> Loose:
    """Import litellm, silenced and offline. Raises `Broken` with `extra_missing`."""
    # Read at import: without it litellm fetches a price list from the network, with retries.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    try:
        litellm: Loose = import_module("litellm")
    except ModuleNotFoundError as missing:
        if missing.name != "litellm":
            raise
        raise Broken("extra_missing", "this model needs litellm: pip install 'penstock[litellm]'") from None
    litellm.suppress_debug_info = True
    return litellm


def arguments(model: str, request: ChatRequest) -> dict[str, Loose]:
    """What litellm is called with: always streamed, always with usage, never retried by it."""
    known: dict[str, Loose] = {name: value for name, value in request.params.items() if name in PARAMETERS}
    options = request.params.get("stream_options")
    aside = PARAMETERS | {"stream_options"}
    rest = {name: value for name, value in request.params.items() if name not in aside}
    if rest:
        known["extra_body"] = rest
    return {
        **known,
        "model": model,
        "messages": list(request.messages),
        "stream": True,
        "stream_options": {**(options if isinstance(options, dict) else {}), "include_usage": True},
        "max_retries": 0,
    }


def chunk_of(piece: Loose) -> ChatChunk:
    """A `ModelResponseStream` as our own chunk; it has the same attributes."""
    try:
        chunk = msgspec.convert(piece, ChatChunk, from_attributes=True)
    except msgspec.ValidationError:
        return loosely_chunk(piece.model_dump())
    for choice in chunk.choices or ():
        if hasattr(choice.logprobs, "model_dump"):
            choice.logprobs = choice.logprobs.model_dump()
    return chunk


async def _close(stream: AsyncIterable[Loose]) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()


def _broken(problem: Exception, provider: str, *, begun: bool) -> Exception:
    """An exception of litellm as an error of our table; any other is returned as it is."""
    original = getattr(problem, "original_exception", None)
    if isinstance(original, Exception):  # litellm's MidStreamFallbackError wraps what happened
        return _broken(original, provider, begun=begun)
    names = [kind.__name__ for kind in type(problem).__mro__]
    if "MidStreamFallbackError" in names:
        return Broken("provider_truncated", f"{provider} ended the stream before the answer was complete")
    status = getattr(problem, "status_code", None)
    code = next((_BY_CLASS[name] for name in names if name in _BY_CLASS), None)
    if code is None and not isinstance(status, int):
        return problem
    message = str(getattr(problem, "message", None) or problem)
    status = status if isinstance(status, int) else 0
    if code is None or code == "provider_unreachable":
        # APIConnectionError is also litellm's word for whatever it did not expect.
        code = "provider_truncated" if begun and code else code or provider_errors.code_of(status, (), message)
    headers = getattr(getattr(problem, "response", None), "headers", None) or {}
    wait = provider_errors.retry_after(headers)
    # litellm opens its messages with the names of its own exception, often twice, and of the provider's.
    said = _NAMES.sub("", message)
    return provider_errors.broken(provider, code, said, status=status, retry_after=wait)
