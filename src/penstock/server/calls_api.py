"""What models answer beside questions, whole: `/v1/embeddings`, `/v1/messages/count_tokens`, `/v1/responses/input_tokens`.

A body is read as far as it takes to know whom to ask and that it is one; the rest goes to the provider as it came, and so does its answer
come back. Nothing of this is a run: nobody can come back to it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import msgspec

from penstock.auth.grant import Grant
from penstock.core.body import read_object
from penstock.core.errors import Broken, Refused
from penstock.core.events import Json
from penstock.core.frame import Dialect
from penstock.core.source import Caller
from penstock.server.door import parsed
from penstock.server.elsewhere import words
from penstock.server.exchange import ClientGone, Exchange, Header
from penstock.server.service import Model, Service
from penstock.server.token_estimate import estimate

EMBEDDINGS = "/v1/embeddings"
COUNT_TOKENS = "/v1/messages/count_tokens"
INPUT_TOKENS = "/v1/responses/input_tokens"
ESTIMATED: Header = (b"penstock-estimated", b"true")
"""On a count that is no tokenizer's."""

_encode = msgspec.json.Encoder().encode

Fields = dict[str, Json]


class CallsApi:
    """All of them, for one configuration."""

    def __init__(self, service: Service):
        self._service = service
        self._live: Counter[str] = Counter()
        """Calls that wait for their answer, by principal."""

    async def embeddings(self, exchange: Exchange) -> None:
        """Ask the model's provider for embeddings. Raises `Refused(not_offered)` where it has none."""
        fields = await self._asked(exchange, EMBEDDINGS, _read_embeddings)
        model = self._model(exchange, fields)
        source = _caller(model, "embeddings")
        if source is None:
            raise Refused(
                "not_offered",
                f"{model.name!r} makes no embeddings; ask a model of an OpenAI-compatible provider, as in openai/text-embedding-3-small",
                param="model",
            )
        answer = await self._call(exchange, source, "embeddings", fields, {})
        await exchange.reply(200, answer, "application/json")

    async def count_tokens(self, exchange: Exchange) -> None:
        """Ask the model's provider how many tokens a question has, or estimate it where there is nobody to ask."""
        fields = await self._asked(exchange, COUNT_TOKENS, _read_messages)
        model = self._model(exchange, fields)
        source, dialect = _caller(model, "count_tokens"), self._words(exchange, COUNT_TOKENS)
        if dialect is not None:
            exchange.request_id_also = dialect.traits.request_id
        if source is None:
            body = _encode({"input_tokens": await asyncio.to_thread(estimate, fields)})
            await exchange.reply(200, body, "application/json", [ESTIMATED])
            return
        passes = dialect.traits.passes if dialect is not None else ()
        headers = {name: value for name in passes if (value := exchange.header(name))}
        answer = await self._call(exchange, source, "count_tokens", fields, headers)
        await exchange.reply(200, answer, "application/json")

    async def input_tokens(self, exchange: Exchange) -> None:
        """As `count_tokens`, in the words of OpenAI Responses."""
        fields = await self._asked(exchange, INPUT_TOKENS, _read_input)
        source = _caller(self._model(exchange, fields), "input_tokens")
        if source is None:
            counted = {"object": "response.input_tokens", "input_tokens": await asyncio.to_thread(estimate, fields)}
            await exchange.reply(200, _encode(counted), "application/json", [ESTIMATED])
            return
        answer = await self._call(exchange, source, "input_tokens", fields, {})
        await exchange.reply(200, answer, "application/json")

    async def _asked(self, exchange: Exchange, path: str, read: Callable[[bytes], Fields]) -> Fields:
        """The fields of the body of somebody who may ask here, and not too fast. Raises `Refused`."""
        service, grant = self._service, exchange.grant
        exchange.options(())
        service.runs.admission.check()
        if not grant.may_begin(path):
            raise Refused("forbidden", f"this key may not use {path}; it may use {', '.join(grant.routes)}")
        body = await exchange.body(service.max_body)
        service.gate.quota.begin(grant)
        return await parsed(read, body)

    def _model(self, exchange: Exchange, fields: Fields) -> Model:
        return self._service.model(str(fields.pop("model")), exchange.grant)

    def _words(self, exchange: Exchange, path: str) -> Dialect | None:
        return words(path, exchange.headers, self._service.dialects)

    async def _call(
        self, exchange: Exchange, source: Caller, name: str, fields: Fields, headers: dict[str, str]
    ) -> bytes:
        """The provider's answer. A client that leaves takes the call with it. Raises `Refused` with the provider's error."""
        who = self._enter(exchange.grant)
        calling = asyncio.get_running_loop().create_task(source.call(name, fields, headers), name=f"call {name}")

        def gone() -> None:
            calling.cancel()

        exchange.watch(gone)
        try:
            await asyncio.wait([calling])
        finally:
            exchange.unwatch()
            calling.cancel()
            self._leave(who)
        if calling.cancelled():
            raise ClientGone
        try:
            return calling.result()
        except Broken as broken:
            told = broken.fault
            raise Refused(told.code, told.message, retry_after=told.retry_after, param=told.param) from None

    def _enter(self, grant: Grant) -> str:
        who, most = grant.principal.name, grant.allowance.concurrent_runs
        if most and self._live[who] >= most:
            raise Refused("too_many_runs", f"this key may have {most} calls at once; wait for one to end")
        self._live[who] += 1
        return who

    def _leave(self, who: str) -> None:
        self._live[who] -= 1
        if not self._live[who]:
            del self._live[who]


def _caller(model: Model, name: str) -> Caller | None:
    """The first of what answers for a model that can be asked this."""
    return next((caller for caller in model.callers if name in caller.calls), None)


def _read_embeddings(body: bytes) -> Fields:
    fields = _named(body)
    given = fields.get("input")
    if given is None or given in ("", []) or not isinstance(given, str | list):
        raise Refused(
            "invalid_request", "'input' is required: a text, or a list of texts or of tokens, not empty", param="input"
        )
    return fields


def _read_messages(body: bytes) -> Fields:
    fields = _named(body)
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(each, dict) for each in messages):
        raise Refused(
            "invalid_request", "'messages' is required: a list with at least one {role, content}", param="messages"
        )
    return fields


def _read_input(body: bytes) -> Fields:
    """What is counted of a question: earlier answers are held here, not by the provider, which would not know their items either."""
    fields = _named(body)
    for name in ("conversation", "previous_response_id"):
        if fields.get(name) is not None:
            raise Refused(
                "not_offered", f"{name!r} is not followed to count tokens; send the whole 'input'", param=name
            )
    given = fields.get("input")
    if isinstance(given, list):
        fields["input"] = [
            {name: value for name, value in item.items() if name != "id"} if isinstance(item, dict) else item
            for item in given
            if not (isinstance(item, dict) and item.get("type") == "reasoning")
        ]
    elif given is not None and not isinstance(given, str):
        raise Refused("invalid_request", "'input' is a text or a list of items", param="input")
    return fields


def _named(body: bytes) -> Fields:
    fields = read_object(body)
    if not isinstance(fields.get("model"), str) or not fields["model"]:
        raise Refused("invalid_request", "'model' is required: a name of GET /v1/models", param="model")
    return fields
