"""What `/v1/models` says that a protocol cannot is refused by it, and what providers can be called for is where they say."""

from __future__ import annotations

import pytest

from penstock.config.models import Features
from penstock.core.errors import Broken
from penstock.core.events import Json
from penstock.core.request import ChatRequest
from penstock.registry import TABLES, resolve
from penstock.server.models_api import FEATURES
from penstock.sources.provider import HttpProvider

SOUND: Json = {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}
LISTEN = ChatRequest(model="m", messages=({"role": "user", "content": [{"type": "text", "text": "Hear:"}, SOUND]},))


@pytest.mark.parametrize("kind", TABLES["providers"])
def test_a_protocol_without_sound_or_embeddings_says_so_and_no_other_does(kind: str) -> None:
    provider: HttpProvider = resolve("providers", kind)("http://127.0.0.1:1")
    refused: list[str] = []
    try:
        provider._protocol.question("m", LISTEN, host="here")
    except Broken as broken:
        refused.append(broken.fault.code)
    assert refused == (["not_carried"] if provider.features.get("audio") is False else [])
    assert ("embeddings" in provider.calls) == (provider.features.get("embeddings") is not False)


def test_what_is_told_of_a_model_is_what_can_be_said_of_it() -> None:
    assert Features.__struct_fields__ == FEATURES
