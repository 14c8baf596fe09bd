"""Whether the process lives, and whether it wants traffic. Neither depends on a provider or on a key."""

from __future__ import annotations

import msgspec

from penstock.server.exchange import Exchange
from penstock.server.service import Service

_encode = msgspec.json.Encoder().encode


class Health:
    """`/healthz` answers while the loop turns; `/readyz` answers 503 from the moment the server is told to go."""

    def __init__(self, service: Service):
        self._service = service

    async def live(self, exchange: Exchange) -> None:
        await exchange.reply(200, _encode({"status": "alive"}), "application/json")

    async def ready(self, exchange: Exchange) -> None:
        status, word = (503, "draining") if self._service.runs.admission.leaving else (200, "ready")
        await exchange.reply(status, _encode({"status": word}), "application/json")
