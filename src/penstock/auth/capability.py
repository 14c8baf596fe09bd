"""URLs that carry a right: a run's `events_url` for a browser's EventSource, which can send no header.

The token is `<scope>.<expiry>.<mac>`: `r` to read or `c` to read and cancel, Unix time in seconds in hexadecimal, and
HMAC-SHA-256 (RFC 2104) over both and the run, in base64url (RFC 4648 §5).
"""

from __future__ import annotations

import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from hmac import compare_digest
from hmac import digest as hmac
from typing import Literal

Right = Literal["read", "cancel"]

_RIGHTS: dict[str, tuple[Right, ...]] = {"r": ("read",), "c": ("read", "cancel")}
_LETTER: dict[Right, str] = {"read": "r", "cancel": "c"}
LONGEST = 80
"""Characters of a token."""
SHORTEST_SECRET = 32
"""Characters of a secret that is set."""


class Capabilities:
    """Makes and checks tokens. Without a secret a random one is taken: then what it signed is worth nothing after a restart."""

    def __init__(self, secret: str = "", *, clock: Callable[[], float] = time.time):
        # Hashed, so that the text may also serve for something else without the one giving the other away.
        self._secret = (
            sha256(b"penstock capability\0" + secret.encode()).digest() if secret else secrets.token_bytes(32)
        )
        self._random = not secret
        self._clock = clock

    def inherit(self, earlier: Capabilities) -> None:
        """Where neither was given a secret, go on with the earlier one's."""
        if self._random and earlier._random:
            self._secret = earlier._secret

    def token(self, run: str, right: Right, *, expires: int) -> str:
        """A token for one run; the same for the same arguments."""
        told = f"{_LETTER[right]}.{expires:x}"
        return f"{told}.{self._mac(run, told)}"

    def rights(self, run: str, token: str) -> tuple[Right, ...]:
        """What a token gives its bearer on this run: nothing, where it is not ours, another run's, or over."""
        told, _, mac = token.rpartition(".")
        if len(token) > LONGEST or not token.isascii():
            return ()
        if not compare_digest(self._mac(run, told), mac):
            return ()
        letter, _, expires = told.partition(".")
        return _RIGHTS[letter] if self._clock() < int(expires, 16) else ()

    def _mac(self, run: str, told: str) -> str:
        mac = hmac(self._secret, f"{run}\0{told}".encode(), sha256)
        return urlsafe_b64encode(mac).rstrip(b"=").decode()
