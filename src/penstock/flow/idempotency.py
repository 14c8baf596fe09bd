"""Idempotency keys: the same request, asked again, is the same run (IETF draft-ietf-httpapi-idempotency-key-header)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256

import msgspec

from penstock.core.errors import Refused
from penstock.core.request import Principal
from penstock.flow.handle import RunHandle

KEY_LONGEST = 255
"""Characters of a key: it is kept for longer than its run."""


class _Keyed(msgspec.Struct, frozen=True):
    run: str
    digest: bytes


class IdempotencyKeys:
    """Which run each key stands for, of each principal on each route. `by_id` are the runs that are held; `most` bounds the table."""

    def __init__(self, by_id: Mapping[str, RunHandle], *, most: int):
        self.most = most
        self._by_id = by_id
        self._keys: dict[tuple[str, str, str], _Keyed] = {}
        self._beginning: dict[tuple[str, str, str], asyncio.Future[None]] = {}
        """The keys whose run is being started."""

    async def once(
        self, principal: Principal, route: str, key: str, body: bytes, begin: Callable[[], Awaitable[RunHandle]]
    ) -> RunHandle:
        """The run that this key began on this route, or the one that `begin` starts; whoever asks meanwhile waits for that one.

        Raises `Refused` for a key that is too long, for another body, when the run is gone, and whatever `begin` raises.
        """
        if len(key) > KEY_LONGEST:
            raise Refused("invalid_request", f"an Idempotency-Key has at most {KEY_LONGEST} characters", param="key")
        place = (principal.name, route, key)
        while (beginning := self._beginning.get(place)) is not None:
            await asyncio.wait([beginning])
        if (earlier := self.answering(principal, route, key, body)) is not None:
            return earlier
        beginning = self._beginning[place] = asyncio.get_running_loop().create_future()
        try:
            handle = await begin()
            self.remember(handle, route, key, body)
            return handle
        finally:
            del self._beginning[place]
            beginning.set_result(None)

    def answering(self, principal: Principal, route: str, key: str, body: bytes) -> RunHandle | None:
        """The run that this key began on this route, if it was used. Raises `Refused` for another body, or when the run is gone."""
        keyed = self._keys.get((principal.name, route, key))
        if keyed is None:
            return None
        if keyed.digest != sha256(body).digest():
            raise Refused("idempotency_mismatch", "this Idempotency-Key was used with another body; choose a new key")
        handle = self._by_id.get(keyed.run)
        if handle is None:
            raise Refused(
                "run_gone", "the run this Idempotency-Key began is no longer held; choose a new key to ask again"
            )
        return handle

    def remember(self, handle: RunHandle, route: str, key: str, body: bytes) -> None:
        """This key stands for this run from now on. The oldest keys are forgotten when there are too many."""
        while len(self._keys) >= self.most:
            del self._keys[next(iter(self._keys))]
        handle.key = (handle.principal.name, route, key)
        self._keys[handle.key] = _Keyed(handle.id, sha256(body).digest())

    def release(self, handle: RunHandle) -> None:
        """A run does not answer for its key any more: whoever asks again begins another."""
        if handle.key is not None and (keyed := self._keys.get(handle.key)) is not None and keyed.run == handle.id:
            del self._keys[handle.key]
