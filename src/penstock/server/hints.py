"""What a request wants of routing: `Penstock-Route: fast`, `cheap`, `best`, `local`, or a target by its name."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.errors import Refused

HEADER = "penstock-route"


def hinted(known: Sequence[str], header: str) -> str:
    """The hint of one request to a model that knows these; empty where it knows none. Raises `Refused`."""
    hint = header.strip()
    if not hint or not known:
        return ""
    if hint not in known:
        raise Refused(
            "invalid_request",
            f"the header Penstock-Route: {hint[:64]!r} is none of what this model knows: {', '.join(known)}",
            param="Penstock-Route",
        )
    return hint
