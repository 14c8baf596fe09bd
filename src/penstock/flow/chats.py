"""Which run a chat is at: the last one begun in it, found by the chat's own name for as long as it lives."""

from __future__ import annotations

from penstock.core.request import Principal
from penstock.flow.handle import RunHandle


class Chats:
    """The live run of each chat, of each principal on each route. There are no more of them than live runs."""

    def __init__(self) -> None:
        self._live: dict[tuple[str, str, str], RunHandle] = {}

    def enter(self, handle: RunHandle) -> None:
        """The run has begun, and its chat is at it from now on. An earlier one goes on as its own policy has it."""
        if handle.request.chat:
            self._live[_place(handle)] = handle

    def leave(self, handle: RunHandle) -> None:
        """The run has ended: nothing runs in its chat, unless another has begun there meanwhile."""
        if handle.request.chat and self._live.get(_place(handle)) is handle:
            del self._live[_place(handle)]

    def find(self, principal: Principal, route: str, chat: str) -> RunHandle | None:
        """What runs in a chat; None where nothing does, and where the chat is another's."""
        return self._live.get((principal.name, route, chat))

    def __len__(self) -> int:
        return len(self._live)


def _place(handle: RunHandle) -> tuple[str, str, str]:
    return handle.principal.name, handle.route, handle.request.chat
