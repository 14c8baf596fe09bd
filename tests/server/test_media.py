"""An image, a sound or a file that is too large, or no base64, is refused where the client said it, before anybody is asked."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from penstock.config.model import Config, ProviderConfig
from penstock.config.models import ModelConfig
from penstock.config.server import ServerConfig
from penstock.config.units import Bytes
from tests.fakes.provider import Provider
from tests.loopback import http_client
from tests.serving import serving

FITS = base64.b64encode(b"x" * 600).decode()
LARGE = base64.b64encode(b"x" * 900).decode()
MOST = 1000


def chat(part: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, part]}], "max_tokens": 9}


def responses(part: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": [{"type": "input_text", "text": "What?"}, part]}]}


def ui(part: Any) -> dict[str, Any]:
    return {"id": "c", "messages": [{"role": "user", "parts": [{"type": "text", "text": "What?"}, part]}]}


SHAPES: dict[str, tuple[str, Callable[[Any], dict[str, Any]], str, Callable[[str], Any]]] = {
    "image": ("/v1/chat/completions", chat, "messages[0].content[1]",
              lambda data: {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}),
    "sound": ("/v1/chat/completions", chat, "messages[0].content[1]",
              lambda data: {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}),
    "file": ("/v1/chat/completions", chat, "messages[0].content[1]",
             lambda data: {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{data}", "filename": "a"}}),
    "anthropic": ("/v1/messages", chat, "messages.0.content.1",
                  lambda data: {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}),
    "responses": ("/v1/responses", responses, "input[0].content[1]",
                  lambda data: {"type": "input_image", "image_url": f"data:image/png;base64,{data}"}),
    "ui": ("/v1/chat/ui", ui, "messages[0]",
           lambda data: {"type": "file", "mediaType": "image/png", "url": f"data:image/png;base64,{data}"}),
}  # fmt: skip
"""Where each is posted, in what, at which place, and as what."""


def config(provider: Provider, **server: Any) -> Config:
    return Config(
        providers={"theirs": ProviderConfig(base_url=provider.base_url)},
        models={"demo": ModelConfig(targets=("theirs/m",))},
        server=ServerConfig(**server),
    )


def place_of(error: dict[str, Any]) -> str:
    told: dict[str, Any] = error.get("details", error)
    return str(told["param"])


@pytest.mark.parametrize("shape", SHAPES)
async def test_what_is_too_large_is_named_where_it_was_said(provider: Provider, shape: str) -> None:
    path, body, place, part = SHAPES[shape]
    served_by = serving(config(provider, max_media=Bytes(MOST)))
    async with served_by as served, http_client(served.url) as client:
        refused = await client.post(path, json={"model": "demo", "stream": True, **body(part(LARGE))})
        told = await client.post(path, json={"model": "demo", "stream": True, **body(part(FITS))})
    assert (refused.status_code, place_of(refused.json()["error"])) == (413, place)
    assert told.status_code == 200


@pytest.mark.parametrize("shape", SHAPES)
async def test_what_is_no_base64_is_named_where_it_was_said(provider: Provider, shape: str) -> None:
    path, body, place, part = SHAPES[shape]
    async with serving(config(provider)) as served, http_client(served.url) as client:
        refused = await client.post(path, json={"model": "demo", "stream": True, **body(part("no*base64"))})
        lines = "\n".join(FITS[at : at + 76] for at in range(0, len(FITS), 76))
        told = await client.post(path, json={"model": "demo", "stream": True, **body(part(lines))})
    assert refused.status_code == 400
    assert place_of(refused.json()["error"]).startswith(place)
    assert told.status_code == (400 if shape == "anthropic" else 200)
