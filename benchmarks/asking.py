"""The server's own API, as far as the tables beside the scenarios need it: begin a run, join it, ask how it is."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Any

import msgspec

from benchmarks.harness import Unavailable

PATIENCE = 30.0


def ask(
    port: int, method: str, path: str, *, body: str | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Status and body of a whole answer, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def begun(port: int, order: str) -> tuple[str, str]:
    """A run with nobody attached yet: its id, and the cursor before its first event."""
    body = msgspec.json.encode({"messages": [{"role": "user", "content": order}]}).decode()
    status, answer = ask(port, "POST", "/v1/streams", body=body, headers={"Accept": "application/json"})
    if status != 201:
        raise Unavailable(f"POST /v1/streams gave {status}: {answer[:300]!r}")
    told = msgspec.json.decode(answer)
    return str(told["id"]), str(told["cursor"])


def ended(port: int, run: str) -> bool:
    return bool(_state(port, run)["state"] == "ended")


def readers(port: int, run: str) -> int:
    """How many read the run now."""
    return int(_state(port, run)["readers"])


def go(port: int, run: str) -> None:
    """Let a run begin whose order was `held`."""
    status, answer = ask(port, "POST", f"/v1/streams/{run}/input", body='"go"')
    if status != 202:
        raise Unavailable(f"POST /v1/streams/{run}/input gave {status}: {answer[:300]!r}")


def live(port: int) -> int:
    """How many runs have not ended."""
    status, answer = ask(port, "GET", "/v1/streams")
    if status != 200:
        raise Unavailable(f"GET /v1/streams gave {status}: {answer[:300]!r}")
    return sum(run["state"] != "ended" for run in msgspec.json.decode(answer)["streams"])


def _state(port: int, run: str) -> dict[str, Any]:
    status, answer = ask(port, "GET", f"/v1/streams/{run}")
    if status != 200:
        raise Unavailable(f"GET /v1/streams/{run} gave {status}: {answer[:300]!r}")
    state: dict[str, Any] = msgspec.json.decode(answer)
    return state
