"""`/v1/models`: what can be asked for, in one body that the clients of OpenAI, of Anthropic and of their imitators all read.

Each reads its own members of it: OpenAI's `object`, `created` and `owned_by`, Anthropic's `type`, `display_name`, `created_at` and
the pages; what only penstock knows stands beside them.
"""

from __future__ import annotations

import msgspec

from penstock.core.errors import Refused
from penstock.server.elsewhere import words
from penstock.server.exchange import Exchange
from penstock.server.service import Model, Service

FEATURES = ("tools", "reasoning", "images", "audio", "prefill", "structured", "embeddings")
MOST = 1000
"""Models of a page."""
PAGING = frozenset({"after_id", "before_id", "limit"})
"""Anthropic's options of a page."""
UNKNOWN_DAY = "1970-01-01T00:00:00Z"
"""When a model was made that nobody has said it of, as Anthropic's reference has it."""

_encode = msgspec.json.Encoder().encode


class ModelsApi:
    """The list, and one of it."""

    def __init__(self, service: Service):
        self._service = service

    async def index(self, exchange: Exchange) -> None:
        """The models that were named in the configuration or in code and may be asked by this caller, a page of them."""
        options = exchange.options(PAGING)
        may_ask = exchange.grant.may_ask
        listed = [model for model in self._service.models() if may_ask(model.name)]
        page, more = _page(listed, options)
        body = {
            "object": "list",
            "data": [self._told(model) for model in page],
            "has_more": more,
            "first_id": page[0].name if page else None,
            "last_id": page[-1].name if page else None,
        }
        await self._reply(exchange, body)

    async def show(self, exchange: Exchange) -> None:
        """One model, listed or not: any name that a request may have."""
        name = str(exchange.scope["path_params"]["model"]).strip("/")
        if not name:
            await self.index(exchange)
            return
        exchange.options(())
        await self._reply(exchange, self._told(self._service.model(name, exchange.grant)))

    def _told(self, model: Model) -> dict[str, object]:
        pace = self._service.pace
        return {
            "id": model.name,
            "object": "model",
            "type": "model",
            "display_name": model.name,
            "created": 0,
            "created_at": UNKNOWN_DAY,
            "owned_by": model.owner,
            "provider": model.owner,
            "targets": model.targets,
            "features": {feature: model.features.get(feature) for feature in FEATURES},
            "context": model.context,
            "measured": pace.of(model.name) if pace is not None else None,
        }

    async def _reply(self, exchange: Exchange, body: dict[str, object]) -> None:
        dialect = words("/v1/models", exchange.headers, self._service.dialects)
        if dialect is not None:
            exchange.request_id_also = dialect.traits.request_id
        await exchange.reply(200, _encode(body), "application/json")


def _page(listed: list[Model], options: dict[str, str]) -> tuple[list[Model], bool]:
    """The models asked for, and whether there are more beyond them in the direction of reading. Raises `Refused`."""
    limit = _limit(options.get("limit"))
    if "after_id" in options and "before_id" in options:
        raise Refused("invalid_request", "send either 'after_id' or 'before_id', not both", param="before_id")
    if "before_id" in options:
        rest = listed[: _place(listed, options["before_id"], "before_id")]
        return rest[-limit:], len(rest) > limit
    start = _place(listed, options["after_id"], "after_id") + 1 if "after_id" in options else 0
    rest = listed[start:]
    return rest[:limit], len(rest) > limit


def _limit(given: str | None) -> int:
    if given is None:
        return MOST
    if not (given.isascii() and given.isdecimal() and len(given) <= 4 and 1 <= int(given) <= MOST):
        raise Refused("invalid_request", f"'limit' must be a number from 1 to {MOST}", param="limit")
    return int(given)


def _place(listed: list[Model], name: str, option: str) -> int:
    for place, model in enumerate(listed):
        if model.name == name:
            return place
    raise Refused("invalid_request", f"'{option}' names no model of the list", param=option)
