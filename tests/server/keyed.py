"""A server that wants keys, its clients, and every path and method of the HTTP description to try on it."""

import base64
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from penstock.auth.keyfile import changing
from penstock.auth.keys import new_key
from penstock.auth.quota import Quota
from penstock.config.model import AuthConfig, Config
from penstock.config.units import Seconds, Secret
from tests.contract.descriptions import OPENAPI, document
from tests.server.reading import PROMPT
from tests.serving import Served, configured, serving

ALICE, BOB = "alice-and-her-long-secret", "bob-and-his-even-longer-secret"
KEYS = f"alice:{ALICE},bob:{BOB}"
QUESTION = {"message": "speak", "messages": PROMPT["messages"], "model": "scripted"}
BODIES: dict[str, Any] = {
    "/api/chat": {"message": "speak", "model": "scripted"},
    "/v1/messages": {**QUESTION, "max_tokens": 9},
    "/v1/completions": {"prompt": "speak", "model": "scripted"},
    "/v1/embeddings": {"input": "speak", "model": "scripted"},
    "/v1/responses": {"input": "speak", "model": "scripted"},
}
NEEDS_NONE = ("/healthz", "/readyz")


def with_keys(config: Config | None = None, *, server: dict[str, Any] | None = None, **auth: Any) -> Config:
    """A configuration with the keys of Alice and Bob, and settings of `[auth]` and `[server]`."""
    config = configured(config, **{"heartbeat": Seconds(3600), **(server or {})})
    return msgspec.structs.replace(config, auth=AuthConfig(**{"api_keys": Secret(KEYS), **auth}))


def add_key(path: Path, name: str, **limits: Any) -> str:
    """A new key in a key file; its text."""
    text, key = new_key(name, **limits)
    with changing(path) as keys:
        keys[key.id] = key
    return text


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def subprotocol(key: str) -> str:
    return "penstock.key." + base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def operations() -> Iterator[tuple[str, str]]:
    """Every method and path of the HTTP description."""
    for path, item in document(OPENAPI)["paths"].items():
        for method in item:
            if method in ("get", "post", "delete"):
                yield method.upper(), path


async def ask(client: httpx2.AsyncClient, method: str, path: str, **options: Any) -> httpx2.Response:
    """One request with a body where there must be one; the whole answer."""
    if method == "POST":
        options.setdefault("json", BODIES.get(path, PROMPT))
    return await client.request(method, path, **options)


@asynccontextmanager
async def keyed(config: Config | None = None, **options: Any) -> AsyncGenerator[tuple[Served, httpx2.AsyncClient]]:
    """A server with keys, and a client that has none. What is allowed a minute goes by the clock of the test."""
    async with serving(config or with_keys(), **options) as served, served.client() as client:
        served.app.service.gate.quota = Quota(clock=served.clock)
        yield served, client
