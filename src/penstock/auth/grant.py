"""What somebody may do, and the seam by which a server finds out: `Authenticator`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from penstock.core.errors import Refused
from penstock.core.request import Principal


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """How much one principal may have; 0 is as much as there is. A reconnect begins no run and costs nothing."""

    runs_per_minute: float = 0.0
    burst: int = 0
    """Runs that may be begun at once after a pause; 0 is as many as a minute has."""
    concurrent_runs: int = 0
    concurrent_readers: int = 0


NO_LIMITS = Allowance()


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a principal may do. `models` and `routes` that are empty stand for all; a `*` ends a name that is only a beginning."""

    principal: Principal
    credential: str = ""
    """The public name of what was shown, such as a key's id; empty where there is none."""
    models: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    """Paths where it may begin runs. Its own runs it may always read, cancel and list."""
    allowance: Allowance = NO_LIMITS

    def may_ask(self, model: str) -> bool:
        """Whether it may use a model."""
        return not self.models or any(_names(pattern, model) for pattern in self.models)

    def may_begin(self, route: str) -> bool:
        """Whether it may begin runs at a path."""
        return not self.routes or any(_names(pattern, route) for pattern in self.routes)


def _names(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


ANYBODY = Grant(principal=Principal())
"""What everybody has who reaches a server without keys."""


class Authenticator(Protocol):
    """Who is asking? Everything below is called once a request, never once a token.

    A third party registers one under `penstock.authenticators` and names it in `[auth] authenticator`.
    """

    async def authenticate(self, credential: str, scope: Mapping[str, Any]) -> Grant:
        """What the bearer of `credential` may do; `scope` is the ASGI scope of the request.

        The credential is empty where the request carries none. Raises `Refused(unauthenticated)`.
        """

    def standing(self, grant: Grant) -> Grant | None:
        """A grant as it is now, or None where it was withdrawn.

        One without a credential stands for its principal: is there any way left in which they could be let in? It is asked
        for long-lived sockets and for the bearers of URLs that the principal gave out. Must not wait.
        """


class PrincipalOf(Protocol):
    """The name of whoever sent a request, from its ASGI scope."""

    def __call__(self, scope: Mapping[str, Any], /) -> str | None: ...


class AsGiven:
    """The principal is whoever the function says: for an application that knows its users. None, or no name, lets nobody in."""

    def __init__(self, principal: PrincipalOf):
        self._principal = principal

    async def authenticate(self, credential: str, scope: Mapping[str, Any]) -> Grant:
        name = self._principal(scope)
        if not name:
            raise Refused("unauthenticated", "you are not signed in")
        return Grant(principal=Principal(name))

    def standing(self, grant: Grant) -> Grant | None:
        return grant
