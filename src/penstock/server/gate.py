"""The gate that every request passes before anything of it is read: which page sends it, under which name, with whose key.

And the runs behind it: a run is found by its owner, and by the bearer of a URL its owner gave out; for others there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import parse_qs

from starlette.types import Scope

from penstock.auth.browser import Browsers, Header
from penstock.auth.capability import Capabilities, Right
from penstock.auth.grant import ANYBODY, Authenticator, Grant
from penstock.auth.quota import Quota
from penstock.core.errors import Refused
from penstock.core.request import Principal
from penstock.flow.handle import RunHandle
from penstock.flow.runs import Runs, no_such_stream

BEARER = Grant(principal=Principal(""), routes=("none",))
"""Whoever comes with a URL instead of a key: they find what its token is for, and may begin nothing."""


class Gate:
    """Without an `authenticator` access is open, without `browsers` the application around us looks after them."""

    def __init__(
        self,
        *,
        authenticator: Authenticator | None = None,
        browsers: Browsers | None = None,
        capabilities: Capabilities | None = None,
        quota: Quota | None = None,
        trusted_proxies: Iterable[str] = (),
        asks_later: bool = True,
    ):
        self._authenticator = authenticator
        self._browsers = browsers
        self._capabilities = capabilities or Capabilities()
        self.quota = quota or Quota()
        self.asks_later = asks_later and authenticator is not None
        """A WebSocket may open without a key, and show it in its first message."""
        self._trusted = [ip_network(proxy) for proxy in trusted_proxies]

    @property
    def open(self) -> bool:
        """Nobody needs a key."""
        return self._authenticator is None

    def inherit(self, earlier: Gate) -> None:
        """Stand where another one stood: what it counted goes on, and the URLs it gave out stay good."""
        self.quota = earlier.quota
        self._capabilities.inherit(earlier._capabilities)

    # -- who enters ----------------------------------------------------------------------------------------------------

    def greet(self, headers: Mapping[bytes, bytes], *, harmless: bool = False) -> tuple[Header, ...]:
        """What the response says to the web page that asked. Raises `Refused` for a page that may not."""
        return self._browsers.admit(headers, harmless=harmless) if self._browsers else ()

    async def enter(self, scope: Scope, credential: str) -> Grant:
        """What the bearer of a credential may do. Raises `Refused`: `unauthenticated`, and `rate_limited` for who guesses."""
        if self._authenticator is None:
            return ANYBODY
        try:
            return await self._authenticator.authenticate(credential, scope)
        except Refused as refusal:
            if credential and refusal.fault.code == "unauthenticated":
                self.quota.guessed(address(scope, self._trusted))
            raise

    def renew(self, grant: Grant) -> Grant:
        """A grant as it is now, for sockets that live long. Raises `Refused(unauthenticated)` where it was withdrawn."""
        if self._authenticator is None:
            return grant
        standing = self._authenticator.standing(grant)
        if standing is None:
            raise Refused("unauthenticated", "the key has expired or was revoked meanwhile")
        return standing

    def stands(self, principal: Principal) -> bool:
        """Whether there is any way left in which a principal could be let in."""
        return self._owner(principal) is not None

    # -- what they find ------------------------------------------------------------------------------------------------

    def find(self, runs: Runs, run: str, grant: Grant, *, right: Right | None, token: str | None = None) -> RunHandle:
        """A run that the caller may do this with; `right` None is what no URL gives.

        Raises `Refused(stream_not_found)` in the same words for a run that is not, is another's, or whose token is not
        good, and `Refused(forbidden)` for a good token without the right.
        """
        if grant is not BEARER:
            return runs.find(run, grant.principal)
        rights = self._capabilities.rights(run, token or "")
        handle = runs.by_id.get(run) if rights else None
        if handle is None or self._owner(handle.principal) is None:
            raise no_such_stream()
        if right not in rights:
            raise Refused(
                "forbidden", "this URL does not give the right to do that; use a key, or the run's cancel_url"
            )
        return handle

    def _owner(self, principal: Principal) -> Grant | None:
        if self._authenticator is None:
            return ANYBODY
        return self._authenticator.standing(Grant(principal=principal))

    def check_reader(self, runs: Runs, handle: RunHandle, grant: Grant, *, more: int = 1) -> None:
        """Somebody wants to read a run they found, beside others of its owner `more` in all.

        Raises `Refused(too_many_readers)` where its owner reads as much as may be.
        """
        if grant is BEARER:
            grant = self._owner(handle.principal) or BEARER
        runs.shares.check_reader(handle.principal, most=grant.allowance.concurrent_readers, more=more)

    def token(self, handle: RunHandle, right: Right) -> str:
        """What makes a URL of a run one for those without a key: `?access=…`; empty while nobody needs one."""
        if self.open:
            return ""
        limits = handle.policy.limits
        expires = handle.created + int(limits.total + limits.retention) + 1
        return f"?access={self._capabilities.token(handle.id, right, expires=expires)}"


def credential(headers: Mapping[bytes, bytes]) -> str:
    """The key in `Authorization: Bearer` (RFC 6750 §2.1) or `x-api-key`; empty where there is none."""
    scheme, _, value = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer":
        value = headers.get(b"x-api-key", b"")
    return value.strip().decode("latin-1")


def access(query: bytes) -> str | None:
    """The token in the query string of a URL that carries a right."""
    return parse_qs(query.decode("latin-1"), keep_blank_values=True).get("access", [None])[0] if query else None


def address(scope: Scope, trusted: Iterable[IPv4Network | IPv6Network]) -> str:
    """Where a request comes from: the connection, or what the nearest proxy that is not `trusted` was told to be.

    `X-Forwarded-For` grows at its right end, so only what our own proxies added can be believed.
    """
    peer = str((scope.get("client") or ("",))[0])
    if not _among(peer, trusted):
        return peer
    forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
    hops = [hop.strip() for hop in forwarded.decode("latin-1").split(",") if hop.strip()]
    return next((hop for hop in reversed(hops) if not _among(hop, trusted)), peer)


def _among(host: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    try:
        found = ip_address(host)
    except ValueError:
        return False
    return any(found.version == network.version and found in network for network in networks)
