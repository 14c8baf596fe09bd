"""Static pages, from memory, under a policy that lets them load nothing from elsewhere."""

from __future__ import annotations

from penstock.server.exchange import Exchange, Header

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

NO_REFERRER: Header = (b"referrer-policy", b"no-referrer")

HEADERS: list[Header] = [
    (b"content-security-policy", POLICY),
    NO_REFERRER,
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-cache"),
]


class Page:
    """One file."""

    def __init__(self, body: bytes, content_type: str):
        self._body = body
        self._content_type = content_type

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.reply(200, self._body, self._content_type, HEADERS)
