"""Which run a chat is at: the latest that was begun in it, found by the chat's own name until that run is forgotten."""

from __future__ import annotations

from penstock.core.lifecycle import Phase
from penstock.core.request import Principal
from penstock.flow.handle import RunHandle

Place = tuple[str, str, str]


class Chats:
    """The latest run of each chat, of each principal on each route. No more of them than runs are held."""

    def __init__(self) -> None:
        self._latest: dict[Place, RunHandle] = {}

    def remember(self, handle: RunHandle, route: str) -> None:
        """This run is the one its chat is at from now on. One before it goes on as its own policy has it."""
        if handle.request.chat:
            self._latest[_place(handle.principal, route, handle.request.chat)] = handle

    def live(self, principal: Principal, route: str, chat: str) -> RunHandle | None:
        """The run of a chat that has not ended; None where nothing runs, and where the chat is another's."""
        handle = self._latest.get(_place(principal, route, chat))
        return handle if handle is not None and handle.state is not Phase.ENDED else None

    def forget(self, handle: RunHandle, route: str) -> None:
        """The run is held no more."""
        place = _place(handle.principal, route, handle.request.chat)
        if self._latest.get(place) is handle:
            del self._latest[place]


def _place(principal: Principal, route: str, chat: str) -> Place:
    return principal.name, route, chat
