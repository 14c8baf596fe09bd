"""Which web pages may speak to the server, and under which names it may be asked.

Any page on the web can make a browser send requests to this machine, and open a WebSocket to it, which no CORS stops. So
`Origin` (RFC 6454), `Sec-Fetch-Site` (Fetch Metadata) and `Host` are looked at before anything else is. None of our
answers depends on a cookie, hence no credentials in CORS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from penstock.core.errors import Refused

Header = tuple[bytes, bytes]

VARY: Header = (b"vary", b"origin")
ALLOWED = b"Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Penstock-Route, Penstock-Timeout, X-Api-Key, X-Request-Id"
EXPOSED = (
    b"Location, Penstock-Model, Penstock-Stream-Id, Penstock-Target, Penstock-Why, Request-Id, Retry-After, Retry-After-Ms, "
    b"X-Request-Id, X-Should-Retry"
)
MAX_AGE = b"600"
MOST = 1024
LONGEST = 512
"""Pairs of host and origin whose answer is remembered, and bytes of one such pair."""

_PLACE = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:@]*))(?::[0-9]*)?")
_DEFAULT_PORT = {"http": ":80", "https": ":443"}


class Browsers:
    """`origins` are those of other sites that may read us, `hosts` the names we answer to.

    While access is open, the own name is all that keeps a page of an attacker out whose name leads here (DNS rebinding): then
    only loopback names, addresses and `hosts` are known. With keys every name is, unless `hosts` says which.
    """

    def __init__(self, *, open_access: bool, origins: Iterable[str] = (), hosts: Iterable[str] = ()):
        self._open = open_access
        self._origins = frozenset(_without_default_port(origin.lower()) for origin in origins)
        self._hosts = frozenset(host.lower() for host in hosts)
        self._answers: dict[tuple[bytes | None, bytes | None], tuple[Header, ...]] = {}

    def admit(self, headers: Mapping[bytes, bytes], *, harmless: bool = False) -> tuple[Header, ...]:
        """What the response says to the page that asked; nothing where none did.

        A `harmless` answer is the same for everybody and may be navigated to from anywhere.
        Raises `Refused(unknown_host)` and `Refused(origin_refused)`.
        """
        host, origin = headers.get(b"host"), headers.get(b"origin")
        answer = self._answers.get((host, origin))
        if answer is None:
            answer = self._judge(host, origin)
            if len(host or b"") + len(origin or b"") <= LONGEST:
                if len(self._answers) >= MOST:
                    self._answers.clear()
                self._answers[host, origin] = answer
        if origin is None and self._open and not harmless and headers.get(b"sec-fetch-site") == b"cross-site":
            raise Refused("origin_refused", "a page of another site may not use this server while it needs no key")
        return answer

    def _judge(self, host: bytes | None, origin: bytes | None) -> tuple[Header, ...]:
        name = (host or b"").decode("latin-1").lower()
        if host is not None and not self._known(_hostname(name)):
            raise Refused(
                "unknown_host",
                f"this server is not known as {_hostname(name)[:64]!r}; its operator can add the name to [server] hosts",
            )
        if origin is None:
            return ()
        given = _without_default_port(origin.decode("latin-1").lower())
        scheme, _, place = given.partition("://")
        if place and place == _without_default_port(f"{scheme}://{name}").partition("://")[2]:
            # The scheme is not compared: TLS may end at a proxy.
            return (VARY,)
        if given in self._origins or (self._open and scheme in _DEFAULT_PORT and is_loopback(_hostname(place))):
            return (VARY, (b"access-control-allow-origin", origin), (b"access-control-expose-headers", EXPOSED))
        raise Refused(
            "origin_refused",
            f"pages of {given[:64]!r} may not use this server; its operator can add them to [server] origins",
        )

    def _known(self, name: str) -> bool:
        if name in self._hosts or is_loopback(name):
            return True
        return _is_address(name) if self._open else not self._hosts


def preflight(methods: Iterable[str]) -> list[Header]:
    """What a page may send, beside the headers of `admit` (Fetch standard, CORS-preflight)."""
    return [
        (b"access-control-allow-methods", ", ".join(methods).encode()),
        (b"access-control-allow-headers", ALLOWED),
        (b"access-control-max-age", MAX_AGE),
    ]


def is_loopback(name: str) -> bool:
    """Whether a host name can only mean this machine (RFC 6761 §6.3 for `localhost`)."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _hostname(place: str) -> str:
    """The name in `name`, `name:port`, `[address]` and `[address]:port`; what is none of them stands for itself, and is nobody's."""
    found = _PLACE.fullmatch(place)
    return found[1] or found[2] or "" if found else place


def _without_default_port(origin: str) -> str:
    return origin.removesuffix(_DEFAULT_PORT.get(origin.partition("://")[0], "\0"))
