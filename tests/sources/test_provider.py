"""What holds for a provider over HTTP whatever it speaks."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from penstock.core.errors import Broken
from penstock.core.request import ChatRequest
from penstock.sources.openai_http import OpenAIChat
from penstock.sources.provider import OFF_LOOP, HttpProvider, Question
from penstock.testing.sources import SoloRun


class Watched(OpenAIChat):
    """Remembers on which thread it was asked to translate."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def question(self, model: str, request: ChatRequest, *, host: str) -> Question:
        self.threads.append(threading.get_ident())
        raise Broken("not_carried", "seen")


@pytest.mark.parametrize(("length", "aside"), [(100, False), (OFF_LOOP + 1, True)])
async def test_a_large_question_is_translated_beside_the_loop(length: int, aside: bool) -> None:
    """Those of others would wait for it."""
    protocol: Any = Watched()
    request = ChatRequest(model="m", messages=({"role": "user", "content": "x" * length},))
    with pytest.raises(Broken, match="seen"):
        await anext(HttpProvider(protocol, "http://127.0.0.1:9").source("m")(request, SoloRun()))
    assert [thread != threading.get_ident() for thread in protocol.threads] == [aside]
