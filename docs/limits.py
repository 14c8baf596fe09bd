"""The limits that no setting changes, as rows of the reference: each value is the constant that the code goes by."""

from collections.abc import Iterator

from penstock.auth import capability, keys, quota
from penstock.config import models
from penstock.config.units import Bytes, Seconds
from penstock.core import body, cursor, health, joint
from penstock.encoders import coalesce
from penstock.flow import conversations, idempotency, inbox, memory, pump, runs
from penstock.server import (
    acceptor,
    answers_api,
    connections,
    door,
    http_protocol,
    joining,
    listener,
    models_api,
    streams_api,
    websocket_protocol,
)
from penstock.server.transports import handshake, responses_socket, websocket
from penstock.sources import provider, sse_splitter
from penstock.stages import attempt, hedge, sticky
from penstock.telemetry import loop_lag, pace


def fixed() -> Iterator[tuple[str, str, str]]:
    """What is limited, to how much, and what happens there."""
    yield "Nesting of a JSON body or message", f"{body.DEEPEST} levels", "400 `invalid_json`"
    yield "JSON that is read on the event loop", _size(door.OFF_LOOP), "larger bodies are read in a thread"
    yield "A cursor", f"{cursor.LONGEST} characters", "400 `bad_cursor`"
    yield "An idempotency key", f"{idempotency.KEY_LONGEST} characters", "400 `invalid_request`"
    yield "Idempotency keys that are remembered", f"{_default(runs.Runs, 'max_keys'):,}", "the oldest is forgotten"
    yield "A key of the server", f"{keys.SHORTEST} to {keys.LONGEST} characters", "401; as a setting it stops the start"
    yield "A token in a URL", f"{capability.LONGEST} characters", "404 `stream_not_found`"
    yield (
        "Wrong keys from one address",
        f"{quota.GUESSES}, then {quota.GUESSES_PER_MINUTE:g} a minute",
        "429 `rate_limited`; a right key is let in",
    )
    yield "Runs on one shared SSE", str(streams_api.MOST_STREAMS), "400 `invalid_request`"
    yield "`?wait=`", _time(streams_api.LONGEST_WAIT), "it is answered then"
    yield "Input that a source has not read", str(inbox.CAPACITY), "429 `input_full`"
    yield "A line or an event of a provider", _size(sse_splitter.LIMIT), "`provider_garbled`"
    yield (
        "How long a source may take to close after the last word",
        _time(pump.CLOSING),
        "it is left behind, counted and logged",
    )
    yield (
        "How long a call for embeddings or a count of tokens may take",
        _time(provider.CALL_SECONDS),
        "504 `first_token_timeout`",
    )
    yield "The answer to such a call", _size(provider.CALL_BYTES), "502 `provider_garbled`"
    yield from _of_targets()
    yield "Models of one page of `/v1/models`", f"{models_api.MOST:,}", "`has_more`"
    yield "Answers of each model whose speed is remembered", str(pace.REMEMBERED), "the oldest gives way"
    yield "Events that a source says without a pause", str(pump.BATCH), "the others have their turn"
    yield "What a flooding run on a WebSocket may put before another's frame", _size(joining.TURN), "it waits its turn"
    yield "Text of merged deltas", f"{coalesce.LONGEST:,} characters", "another delta begins"
    yield (
        "Bytes of a connection that wait in this process",
        _size(http_protocol.WRITE_BUFFER),
        "the reader takes no more",
    )
    yield "A `ref` on a WebSocket", f"{websocket.REF_LONGEST} characters", "`invalid_request`"
    yield "A `stream_id` on OpenAI's WebSocket", f"{responses_socket.NAME_LONGEST} characters", "400 `invalid_request`"
    yield (
        "Requests on OpenAI's WebSocket that wait for their lane",
        f"{responses_socket.MOST_WAITING}, together as large as one body",
        "429 `too_many_runs`",
    )
    yield (
        "Answers that only the connection they were given on can go on from",
        f"the last {conversations.MOST_RECENT}",
        "400 `previous_not_found`",
    )
    yield "Items on one page of `/v1/responses/{answer}/input_items`", str(answers_api.MOST_LISTED), "`has_more`"
    yield "How long a WebSocket may take to show its key", _time(handshake.PATIENCE), "it is closed with 4501"
    yield (
        "Pings and unasked pongs of a client",
        f"{websocket_protocol.CONTROL_RATE} a second",
        "the WebSocket is closed with 1008",
    )
    yield (
        "Fragments of a message",
        f"{websocket_protocol.FEW_FRAGMENTS:,} of any size, beyond that {websocket_protocol.SMALLEST_FRAGMENT} bytes on average",
        "the WebSocket is closed with 1008",
    )
    yield (
        "How long a body may take, beside `server.body_timeout`",
        f"a second for every {_size(connections.PACE)}",
        "408 `request_timeout`",
    )
    yield "How long a client that was refused may still send", _time(connections.LINGER), "the connection is closed"
    yield (
        "Requests that wait behind the one being answered",
        str(http_protocol.MOST_WAITING),
        "400 and the end of the connection",
    )
    yield "How long a TLS handshake may take", _time(acceptor.HANDSHAKE), "the connection is closed"
    yield "File descriptors that connections may take", f"{acceptor.SHARE:.0%}", "503 `overloaded` and `Retry-After`"
    yield "Memory, of what there may be", f"{memory.SHED_ABOVE:.0%}", "ended runs are dropped, then 503 `overloaded`"
    yield (
        "A client whose kernel acknowledges nothing",
        f"{listener.PATIENCE} s, or a little more than the longest `limits.stall`",
        "the kernel ends the connection",
    )
    yield "How long the event loop may be held", f"{1000 * loop_lag.HELD:g} ms", "a line in the log says where"


def _of_targets() -> Iterator[tuple[str, str, str]]:
    """What several targets of a model may cost."""
    breaking, hedging = health.Breaking(), hedge.Hedging()
    yield "Targets of a model", str(models.MOST_TARGETS), "it stops the start"
    yield (
        "Failures of a target",
        f"{breaking.failures} in a row, or {breaking.share:.0%} of the last {breaking.of}",
        f"it rests for {_time(breaking.rest)}, twice as long each time, up to {_time(breaking.longest)}",
    )
    yield "Retries beside those that `retry.budget` grants", f"{health.RETRIES:g}", "the next target is asked"
    yield (
        "Hedges",
        f"{hedging.budget:.0%} of the requests, and {hedging.reserve:g} beside",
        "the first target is waited for",
    )
    yield "What a target says before its first word", f"{attempt.MOST_HELD:,} events", "`provider_garbled`"
    yield (
        "How far back a target may begin again that is to go on",
        f"{joint.REACH:,} characters, or at the beginning",
        "what it repeats is shown twice",
    )
    yield "Conversations of which a `sticky` model knows the target", f"{sticky.MOST:,}", "the oldest is forgotten"


def _size(bytes_: int) -> str:
    return str(Bytes(bytes_))


def _time(seconds: float) -> str:
    return str(Seconds(seconds))


def _default(kind: type, name: str) -> int:
    """What an argument of its constructor is where nobody says otherwise."""
    default: int = (kind.__init__.__kwdefaults__ or {})[name]  # type: ignore[misc]
    return default
