"""Answers that can be asked for again, below a route whose dialect gives them ids: `GET` and `DELETE …/{answer}`,
`POST …/cancel`, `GET …/input_items`.

Paths and options are those of OpenAI Responses (`resources/responses/responses.py` of openai-python), the words are the
dialect's. An answer is a run: the same owner finds it, for as long as the run is held.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from penstock.core.cursor import answer_id, run_of
from penstock.core.errors import Refused
from penstock.core.events import Json
from penstock.core.frame import Recalls
from penstock.core.lifecycle import Phase
from penstock.flow.handle import RunHandle
from penstock.flow.pump import CLOSING
from penstock.flow.runs import no_such_stream
from penstock.server.arrival import READING, Arrival, flag
from penstock.server.door import read, standing
from penstock.server.exchange import Exchange
from penstock.server.service import Route, Service

JSON = "application/json"
ASIDE = frozenset({"include", "include[]", "include_obfuscation"})
"""Options that ask for more than is ever held, or for padding: they change nothing."""
RETRIEVING = READING | ASIDE | {"stream", "starting_after"}
LISTING = ASIDE | {"after", "limit", "order"}
MOST_LISTED = 100
"""Items on one page."""
LONGEST = 15
"""Digits of a frame's number."""

_encode = msgspec.json.Encoder().encode


class AnswersApi:
    """Operations on the answers of one route. Every method answers one exchange and raises `Refused` before anything was sent."""

    def __init__(self, service: Service, route: Route):
        self._service = service
        self._route = route

    def _handle(self, exchange: Exchange) -> RunHandle:
        run = run_of(exchange.scope["path_params"]["answer"], self._route.dialect.traits.answer_prefix)
        if not run:
            raise no_such_stream()
        return self._service.runs.find(run, exchange.grant.principal)

    async def show(self, exchange: Exchange) -> None:
        """The answer as it stands; with `?stream=true` its stream, from the frame behind `starting_after` or `Last-Event-ID`."""
        options = exchange.options(RETRIEVING, repeated=ASIDE)
        arrival = Arrival(self._service, exchange, self._route, options)
        arrival.eventsource = False
        handle = self._handle(exchange)
        if arrival.cursor is not None and arrival.cursor.run != handle.id:
            raise Refused("bad_cursor", "the cursor belongs to another answer", param="after")
        if not flag(options, "stream"):
            await standing(arrival, handle)
            return
        if starting := options.get("starting_after"):
            arrival.starting_after = _number(starting)
            if not arrival.dialect.traits.sequence_key:
                raise Refused(
                    "unknown_option",
                    f"frames of {arrival.dialect.name!r} have no numbers; come back with 'after' and a cursor",
                    param="starting_after",
                )
        await read(arrival, handle, held=0.0)

    async def cancel(self, exchange: Exchange) -> None:
        """Stop an answer; one that has ended stays as it is. Returns it as it stands then."""
        exchange.options(())
        handle = self._handle(exchange)
        await exchange.body(self._service.max_body)
        self._service.runs.cancel(handle)
        await standing(Arrival(self._service, exchange, self._route, {}), handle)

    async def delete(self, exchange: Exchange) -> None:
        """Forget an answer; one that is still being given is cancelled first, and its readers are told so."""
        exchange.options(())
        handle = self._handle(exchange)
        runs = self._service.runs
        if handle.state is not Phase.ENDED:
            runs.cancel(handle)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(handle.pump.closed(), CLOSING)
        runs.forget(handle)
        told = {"id": exchange.scope["path_params"]["answer"], "object": "response", "deleted": True}
        await exchange.reply(200, _encode(told), JSON)

    async def input_items(self, exchange: Exchange) -> None:
        """What was asked in the question of an answer, a page at a time; not what was said before it."""
        options = exchange.options(LISTING, repeated=ASIDE)
        handle = self._handle(exchange)
        dialect = self._route.dialect
        if handle.turn is None or not handle.request.keep or not isinstance(dialect, Recalls):
            raise Refused("stream_not_found", "what was asked there was not kept (store)")
        items = dialect.asked(handle.turn.question(), answer_id(handle.id, dialect.traits.answer_prefix))
        page = _page(items, options)
        names = [item["id"] for item in page if isinstance(item, dict)]
        listed = {
            "object": "list",
            "data": page,
            "first_id": names[0] if names else "",
            "last_id": names[-1] if names else "",
            "has_more": bool(page) and page[-1] is not (items[-1] if options.get("order") == "asc" else items[0]),
        }
        await exchange.reply(200, _encode(listed), JSON)

    async def upgrade(self, exchange: Exchange) -> None:
        """The path is a WebSocket too, and this request is none."""
        raise Refused(
            "upgrade_required", f"{self._route.path} is a WebSocket on GET; POST asks for one answer over HTTP"
        )


def _page(items: list[Json], options: dict[str, str]) -> list[Json]:
    """Some of the items: newest first unless `order` is `asc`, behind the one `after`, at most `limit` of them. Raises `Refused`."""
    order, limit = options.get("order", "desc"), options.get("limit", "20")
    if order not in ("asc", "desc"):
        raise Refused("unknown_option", f"option 'order' is asc or desc, not {order[:32]!r}", param="order")
    if not (limit.isascii() and limit.isdecimal() and len(limit) <= 3 and 1 <= int(limit) <= MOST_LISTED):
        raise Refused("unknown_option", f"option 'limit' is a number from 1 to {MOST_LISTED}", param="limit")
    listed = items if order == "asc" else items[::-1]
    if after := options.get("after", ""):
        places = [place for place, item in enumerate(listed, 1) if isinstance(item, dict) and item["id"] == after]
        if not places:
            raise Refused("unknown_option", f"no item has the id {after[:64]!r}", param="after")
        listed = listed[places[0] :]
    return listed[: int(limit)]


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= LONGEST):
        raise Refused(
            "bad_cursor",
            "'starting_after' is the sequence number of the last frame you have, a whole number",
            param="starting_after",
        )
    return int(text)
