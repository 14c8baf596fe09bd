"""`/{chat}/stream` under a route whose requests name their chat: what runs there, read from its beginning, and stopped.

That is how the AI SDK resumes: a page that was loaded again asks by its chat, and is answered 204 where nothing runs. What has
ended is not told again, since the page would take it for more. Another's chat is one where nothing runs.
"""

from __future__ import annotations

from penstock.core.errors import Refused
from penstock.flow.handle import RunHandle
from penstock.server.arrival import READING, Arrival
from penstock.server.door import read
from penstock.server.exchange import Exchange
from penstock.server.service import Route, Service


class ChatsApi:
    """Operations on the chats of one route. Every method answers one exchange and raises `Refused` before anything was sent."""

    def __init__(self, service: Service, route: Route):
        self._service = service
        self._route = route

    def _live(self, exchange: Exchange) -> RunHandle | None:
        chat = exchange.scope["path_params"]["chat"]
        return self._service.runs.chats.find(exchange.grant.principal, self._route.path, chat)

    async def resume(self, exchange: Exchange) -> None:
        """The stream of what runs, from the first chunk; with a cursor, from there."""
        arrival = Arrival(self._service, exchange, self._route, exchange.options(READING))
        arrival.eventsource = False  # it is `fetch` that comes this way, and its clients know what a sentinel is
        arrival.afresh = arrival.cursor is None
        handle = self._live(exchange)
        if handle is None:
            await exchange.reply(204, b"", "")
            return
        if arrival.cursor is not None and arrival.cursor.run != handle.id:
            raise Refused("bad_cursor", "the cursor belongs to another answer of this chat", param="after")
        await read(arrival, handle, held=0.0)

    async def stop(self, exchange: Exchange) -> None:
        """Cancel what runs. A page that stops reading leaves the answer to go on for whoever comes back; this ends it."""
        exchange.options(())
        handle = self._live(exchange)
        if handle is not None:
            self._service.runs.cancel(handle)
        await exchange.reply(204, b"", "")
