"""How the name of a model is read: which source it means, and what that source calls it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from ipaddress import ip_address
from itertools import count
from pathlib import PurePath
from urllib.parse import urlsplit

import msgspec

_SPEED = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)
_FUNCTION = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)


class Demo(msgspec.Struct, frozen=True):
    """`demo`: the model that needs no key."""


class AtProvider(msgspec.Struct, frozen=True):
    """`provider/name`: the name goes upstream as it is."""

    provider: str
    name: str


class AtUrl(msgspec.Struct, frozen=True):
    """`http://127.0.0.1:8081/v1#name`: an OpenAI-compatible server without an entry of its own."""

    base_url: str
    name: str


class ThroughLitellm(msgspec.Struct, frozen=True):
    """`litellm/name`: the name in litellm's own words."""

    name: str


class Function(msgspec.Struct, frozen=True):
    """`module:function`: an async generator of the user's own."""

    path: str


class OnCassette(msgspec.Struct, frozen=True):
    """`cassette:run.jsonl`: a recorded run, played at its own pace; `cassette:run.jsonl#4` four times as fast, `#0` at once."""

    path: str
    speed: float


Target = Demo | AtProvider | AtUrl | ThroughLitellm | Function | OnCassette


def read_target(text: str, providers: Collection[str]) -> Target:
    """What a model name that is no alias means. Raises `ValueError`, with the nearest provider, for what means nothing."""
    if text == "demo":
        return Demo()
    if text.startswith(("http://", "https://")):
        url, _, name = text.partition("#")
        if not name:
            raise ValueError(f"{text!r} names no model; write it behind the URL, as in {url + '#name'!r}")
        return AtUrl(read_base_url(url), name)
    if text.startswith("cassette:"):
        path, _, speed = text.removeprefix("cassette:").partition("#")
        if not path or (speed and not _SPEED.fullmatch(speed)):
            raise ValueError(
                f"{text!r} is no cassette; write its file and, if need be, its speed, as in 'cassette:run.jsonl#4'"
            )
        return OnCassette(path, float(speed or 1))
    first, slash, name = text.partition("/")
    if slash and name and first == "litellm":
        return ThroughLitellm(name)
    if slash and name and first in providers:
        return AtProvider(first, name)
    if _FUNCTION.fullmatch(text):
        return Function(text)
    if not (slash and name):
        raise ValueError(
            f"{text!r} is no model; write 'demo', 'provider/name', 'http://host:port/v1#name', 'litellm/name', "
            "'module:function' or 'cassette:file'"
        )
    near = get_close_matches(first, [*providers, "litellm"], 1)
    if near:
        hint = f"did you mean {near[0] + slash + name!r}?"
    elif providers:
        hint = f"there are {', '.join(sorted(providers))}"
    else:
        hint = "none is configured: set a key such as OPENAI_API_KEY, or add [providers.NAME] to the file"
    raise ValueError(f"no provider is called {first!r}; {hint}")


def known_as(configured: str, target: Target) -> str:
    """A target as clients may know it: an address is the operator's business, and so are code and folders."""
    match target:
        case AtUrl(_, name):
            return name
        case Function():
            return "function"
        case OnCassette(path):
            return PurePath(path).stem
        case _:
            return configured


def told(targets: Mapping[str, Target]) -> dict[str, str]:
    """The names by which clients, notes, metrics and the log know these targets → how the configuration writes them.

    Of two by one name the second is `NAME-2`.
    """
    names: dict[str, str] = {}
    for configured, target in targets.items():
        name = known_as(configured, target)
        if name in names:
            name = next(each for n in count(2) if (each := f"{name}-{n}") not in names)
        names[name] = configured
    return names


def read_base_url(text: str) -> str:
    """A provider's URL without a slash at its end. Raises `ValueError` for what is no http or https URL."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
        parts = urlsplit("")
    if not usable:
        raise ValueError("this is no URL of a server; write it like 'http://127.0.0.1:8081/v1'")
    if parts.username or parts.password:
        raise ValueError("a URL must not hold a password; give the key as api_key")
    if parts.query or parts.fragment:
        raise ValueError("the URL of a server has no query and no '#'")
    return text.rstrip("/")


def is_near(url: str) -> bool:
    """Whether a server is on this machine or in a private network: by its address, or by a name that only such a network knows."""
    host = urlsplit(url).hostname or ""
    try:
        address = ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost"))
    return address.is_loopback or address.is_private
