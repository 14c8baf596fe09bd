"""Keys: how they are written, and who may enter with one. Only their hashes are kept; `keyfile` keeps them on disk.

A key is `psk_<id>_<secret><checksum>`: ten letters that name it, 256 random bits in 43, and six of CRC-32, so that a
misspelt or cut one is told from a wrong one, and scanners of source code can find one that got lost.
"""

from __future__ import annotations

import re
import secrets
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Protocol

import msgspec

from penstock.auth.grant import NO_LIMITS, Allowance, Grant
from penstock.core.errors import Refused
from penstock.core.request import Principal

PREFIX = "psk_"
SHORTEST = 20
"""Characters of a key somebody made up."""
LONGEST = 512

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_OURS = re.compile(r"psk_([a-z2-7]{10})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
_NOBODY = sha256(secrets.token_bytes(32)).digest()
"""What an unknown key is compared with, so that it takes as long as a known one."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a key. Two keys of one name are one owner: that is how a key is renewed while clients move over."""

    id: str
    name: str
    digest: bytes
    """SHA-256 of the whole key."""
    created: int = 0
    """Unix time in seconds, as `expires`; 0 where it is not known."""
    expires: int | None = None
    models: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    allowance: Allowance | None = None
    """None: the server's."""


def new_key(name: str, **limits: Any) -> tuple[str, Key]:
    """A new key, and what to keep of it. The text is known now and never again. Raises `ValueError` for a name that cannot be."""
    key_id = "".join(secrets.choice(_LETTERS) for _ in range(10))
    body = f"{PREFIX}{key_id}_{_written(secrets.randbits(256), 43)}"
    text = body + _checksum(body)
    return text, Key(id=key_id, name=check_name(name), digest=_digest(text), **limits)


def check_name(name: str) -> str:
    """The name, if it may be one. Raises `ValueError`."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"a key cannot be called {name[:64]!r}; a name has 1 to 64 letters, digits and '.', '_', '@', '-',"
            " and begins with a letter or a digit"
        )
    return name


def made_up(text: str) -> tuple[Key, ...]:
    """The keys of `PENSTOCK_API_KEYS`: `key` or `name:key`, separated by commas or white space. They may be any secret words.

    Raises `ValueError`, whose message shows no key.
    """
    found: dict[str, Key] = {}
    for number, given in enumerate(text.replace(",", " ").split(), 1):
        name, colon, key = given.rpartition(":")
        if not (key.isascii() and key.isprintable() and SHORTEST <= len(key) <= LONGEST):
            raise ValueError(
                f"key {number} must have {SHORTEST} to {LONGEST} characters of ASCII; `penstock keys new NAME` makes good ones"
            )
        digest = _digest(key)
        key_id = _id_of(key, digest)
        if key_id is None:
            raise ValueError(f"key {number} is misspelt: its checksum is wrong; copy it again")
        found[key_id] = Key(id=key_id, name=check_name(name) if colon else f"key-{key_id[:8]}", digest=digest)
    if not found:
        raise ValueError("there is no key in it; write keys separated by commas")
    return tuple(found.values())


class Ring(Protocol):
    """Where keys come from. `keys` is asked for every request: it must be quick."""

    def keys(self) -> Mapping[str, Key]:
        """Every key by its id; the same object for as long as nothing has changed."""


class KeyAuthenticator:
    """Lets in whoever shows a key that is known and has not expired. `keys` are there for good, those of `ring` come and go."""

    def __init__(
        self,
        keys: Iterable[Key] = (),
        *,
        ring: Ring | None = None,
        allowance: Allowance = NO_LIMITS,
        clock: Callable[[], float] = time.time,
    ):
        self._fixed = {key.id: key for key in keys}
        self._ring = ring
        self._allowance = allowance
        self._clock = clock
        self._known: Mapping[str, Key] = self._fixed
        self._named = _by_name(self._fixed)
        self._seen: Mapping[str, Key] | None = None

    async def authenticate(self, credential: str, scope: Mapping[str, Any]) -> Grant:
        """As `Authenticator`. Costs a hash and a look into a dictionary."""
        if not credential:
            raise Refused("unauthenticated", "this server wants a key: send the header 'Authorization: Bearer KEY'")
        digest = _digest(credential)
        key_id = _id_of(credential, digest)
        if key_id is None:
            raise Refused("unauthenticated", "the key is misspelt: its checksum is wrong; copy it again")
        key = self._keys().get(key_id)
        if not compare_digest(key.digest if key else _NOBODY, digest) or key is None:
            raise Refused("unauthenticated", "the key is not known here: it never was, or has been revoked")
        if self._expired(key):
            raise Refused("unauthenticated", "the key has expired; ask for a new one")
        return self._grant(key)

    def standing(self, grant: Grant) -> Grant | None:
        keys = self._keys()
        if grant.credential:
            key = keys.get(grant.credential)
            return self._grant(key) if key is not None and not self._expired(key) else None
        own = self._named.get(grant.principal.name, ())
        return next((self._grant(key) for key in own if not self._expired(key)), None)

    def _keys(self) -> Mapping[str, Key]:
        if self._ring is not None and (now := self._ring.keys()) is not self._seen:
            self._seen = now
            self._known = {**now, **self._fixed}
            self._named = _by_name(self._known)
        return self._known

    def _expired(self, key: Key) -> bool:
        return key.expires is not None and self._clock() >= key.expires

    def _grant(self, key: Key) -> Grant:
        return Grant(
            principal=Principal(key.name),
            credential=key.id,
            models=key.models,
            routes=key.routes,
            allowance=key.allowance or self._allowance,
        )


def _by_name(keys: Mapping[str, Key]) -> dict[str, list[Key]]:
    named: dict[str, list[Key]] = {}
    for key in keys.values():
        named.setdefault(key.name, []).append(key)
    return named


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def _id_of(text: str, digest: bytes) -> str | None:
    """By what a key is found: the id written in one of ours, else the beginning of its hash. None for one of ours that is not whole."""
    if not text.startswith(PREFIX):
        return digest.hex()[:16]
    ours = _OURS.fullmatch(text)
    return ours[1] if ours and text[-6:] == _checksum(text[:-6]) else None


def _checksum(body: str) -> str:
    return _written(zlib.crc32(body.encode()), 6)


def _written(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
