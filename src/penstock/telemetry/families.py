"""What is counted, and what it is called: one table of metric families, which the page of the reference is made from.

Names of OpenTelemetry's semantic conventions for generative AI (open-telemetry/semantic-conventions-genai, of November 2026) where
they have one, written as Prometheus writes them: dots become underscores, the unit of seconds is a suffix. What they do not
know begins with `penstock_`. Labels hold names of the configuration and words of this file, never a client's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from penstock.core.measure import MOMENTS

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[str, ...]

OTHER = "other"
"""The label of whatever has no name of its own here, so that clients cannot invent labels."""

DURATIONS = tuple(0.01 * 2**n for n in range(14))
"""Seconds of a whole call, as the conventions have them: 0.01, 0.02 … 81.92."""
TOKENS = tuple(float(4**n) for n in range(14))
"""Counts of tokens, as the conventions have them: 1, 4, 16 … 67108864."""
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
STAYS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
OVERHEADS = (0.0001, 0.00025, 0.0005, *MOMENTS)
CANCELS = (0.0001, 0.0005, *MOMENTS)
GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")


class Family(msgspec.Struct, frozen=True):
    """One metric: `about` is a sentence for the reference and for `# HELP`."""

    name: str
    kind: Kind
    about: str
    labels: Labels = ()
    edges: tuple[float, ...] = ()


_TABLE = (
    # the answer, as the provider gives it
    Family(
        "gen_ai_client_operation_duration_seconds",
        "histogram",
        "From asking a source to its last word, whoever said it for it.",
        (*GEN_AI, "error_type"),
        DURATIONS,
    ),
    Family(
        "gen_ai_client_operation_time_to_first_chunk_seconds",
        "histogram",
        "From asking a source to the first thing it says.",
        GEN_AI,
        MOMENTS,
    ),
    Family(
        "gen_ai_client_token_usage",
        "histogram",
        "Tokens of a call, as its provider accounts for them; a call without an account is not in it.",
        (*GEN_AI, "gen_ai_token_type"),
        TOKENS,
    ),
    Family(
        "gen_ai_server_time_per_output_token_seconds",
        "histogram",
        "Mean time of a token after the first, of answers that were finished and accounted for.",
        GEN_AI,
        MOMENTS,
    ),
    Family(
        "penstock_overhead_seconds",
        "histogram",
        "From having a whole request to asking the source, as far as the server sees to it: reading it, limits, the stream.",
        ("transport",),
        OVERHEADS,
    ),
    # the targets of models that have several, or that are limited, priced or asked again
    Family(
        "penstock_target_attempts_total",
        "counter",
        "Questions to a target that are over, by how: `answered`, `failed`, or `given_up` by us, as after a cancel.",
        ("target", "outcome"),
    ),
    Family(
        "penstock_target_choices_total",
        "counter",
        "Times a target was chosen to answer, and why: the strategy, the rule, or the target that failed before.",
        ("target", "why"),
    ),
    Family("penstock_target_in_flight", "gauge", "Questions that a target is answering.", ("target",)),
    Family(
        "penstock_target_resting",
        "gauge",
        "1 while a target is left alone, because it failed too often or said when it wants to be asked again.",
        ("target",),
    ),
    Family(
        "penstock_target_first_token_seconds",
        "gauge",
        "From the question to the first token, a running mean; what `latency` and `auto` go by.",
        ("target",),
    ),
    Family(
        "penstock_target_tokens_per_second",
        "gauge",
        "How fast a target speaks, a running mean, without the time that slow readers held it up.",
        ("target",),
    ),
    Family(
        "penstock_counted_tokens_total",
        "counter",
        "Tokens that no provider accounted for, as after a cancel: counted by the server, so they may be a few off.",
        ("model", "gen_ai_token_type"),
    ),
    Family("penstock_cost_total", "counter", "What answers cost, by the prices of the configuration.", ("model",)),
    # streams, which the code calls runs
    Family("penstock_streams_started_total", "counter", "Streams that were begun.", ("route", "transport", "model")),
    Family(
        "penstock_streams_total",
        "counter",
        "Streams that have ended, by how: `completed`, `cancelled`, `client_gone`, `upstream_error`, `server_error`, "
        "`client_error` (as when its key was revoked) or `interrupted` (the server went). Begun are these and the active ones.",
        ("route", "transport", "model", "outcome"),
    ),
    Family("penstock_stream_failures_total", "counter", "Streams that failed, by error code.", ("code",)),
    Family("penstock_streams_active", "gauge", "Streams that have not ended.", ("transport",)),
    Family("penstock_streams_held", "gauge", "Streams that can be read, ended ones included."),
    Family("penstock_stream_kept_bytes", "gauge", "What these keep in memory."),
    Family("penstock_stream_events_total", "counter", "Events said by all streams."),
    Family("penstock_stream_said_bytes_total", "counter", "Bytes of these events."),
    Family(
        "penstock_stream_read_ratio",
        "histogram",
        "What the reader that came furthest took of a stream, counted when the stream is dropped.",
        (),
        SHARES,
    ),
    Family(
        "penstock_stream_backpressure_seconds_total", "counter", "Time that sources waited for readers to take more."
    ),
    Family(
        "penstock_cancel_seconds",
        "histogram",
        "From the end of a stream that its source did not end to the source being closed, by who ended it: `client`, "
        "`disconnect`, `grace`, `server` or `limit`.",
        ("cause",),
        CANCELS,
    ),
    Family("penstock_sources_abandoned_total", "counter", "Sources that did not close in time and were left behind."),
    Family("penstock_sources_raised_total", "counter", "Sources that failed with an exception of their own."),
    # readers
    Family("penstock_readers", "gauge", "Readers that are attached.", ("transport",)),
    Family("penstock_readers_attached_total", "counter", "Readers that were attached.", ("transport",)),
    Family(
        "penstock_readers_left_total",
        "counter",
        "Readers that are gone, by why: `done` and `left` were the client's doing; `stalled`, `slow`, `forgotten` and "
        "`revoked` were dropped. Attached were these and those that are.",
        ("transport", "cause"),
    ),
    Family("penstock_reader_seconds", "histogram", "How long readers stayed, by why they left.", ("cause",), STAYS),
    Family(
        "penstock_reader_read_ratio",
        "histogram",
        "What a reader had of all that was said when it left, by why it left.",
        ("cause",),
        SHARES,
    ),
    Family(
        "penstock_reader_first_event_seconds",
        "histogram",
        "From joining a stream to its first events.",
        ("transport",),
        MOMENTS,
    ),
    Family(
        "penstock_reader_event_gap_seconds",
        "histogram",
        "From one batch of events to the next, as readers are given them.",
        ("transport",),
        MOMENTS,
    ),
    Family("penstock_reader_events_total", "counter", "Events given to readers.", ("transport",)),
    Family(
        "penstock_stream_queue_depth",
        "gauge",
        "Events that were said and not taken yet, of all attached readers.",
        ("transport",),
    ),
    Family("penstock_stream_queue_bytes", "gauge", "Bytes of these events.", ("transport",)),
    Family(
        "penstock_stream_queue_bytes_max", "gauge", "Bytes owed to the reader that is furthest behind.", ("transport",)
    ),
    Family(
        "penstock_merged_deltas_total",
        "counter",
        "Deltas that were joined to the one before, for readers that were behind.",
        ("transport",),
    ),
    Family(
        "penstock_replayed_bytes_total",
        "counter",
        "Bytes given to readers that had been said before they joined, counted when they leave.",
        ("transport",),
    ),
    Family(
        "penstock_resume_total",
        "counter",
        "Requests that came back with a cursor, by what they got: `replayed`, `gap`, `ended` (204), `malformed` (400), "
        "`ahead` (409) or `gone` (410).",
        ("result",),
    ),
    # requests and connections
    Family(
        "penstock_refusals_total",
        "counter",
        "Requests and commands that were refused, by error code and the route asked.",
        ("code", "route"),
    ),
    Family("penstock_request_failures_total", "counter", "Requests that met a fault of the server; its log has each."),
    Family("penstock_connections", "gauge", "Open connections."),
    Family(
        "penstock_connections_refused_total",
        "counter",
        "Connections that were turned away unread, by why: `full`, `address` (one has too many), `files` (descriptors are short), `tls`.",
        ("cause",),
    ),
    Family(
        "penstock_connections_dropped_total",
        "counter",
        "Connections ended for what their clients sent or failed to send, by why: `head_timeout`, `body_timeout`, `message_timeout`, "
        "`ping_timeout`, `head_too_large`, `message_too_large`, `unreadable`, `bad_host`, `bad_handshake`, `bad_utf8`, "
        "`control_flood`, `fragment_flood`, `pipeline_flood` or `websocket_violation`.",
        ("cause",),
    ),
    # the process
    Family("penstock_tasks", "gauge", "Tasks of the event loop."),
    Family("penstock_loop_lag_seconds", "histogram", "How late the event loop came to a timer.", (), MOMENTS),
    Family("penstock_loop_holds_total", "counter", "Times the event loop was held for more than 250 ms."),
    Family("penstock_background_failures_total", "counter", "Failures of what serves all streams, such as the store."),
    Family("penstock_memory_bytes", "gauge", "Memory that counts against the limit, where there is one."),
    Family("penstock_memory_limit_bytes", "gauge", "How much memory there may be, where there is a limit."),
    Family(
        "penstock_shedding",
        "gauge",
        "1 while new streams are refused because memory is short, or the event loop behind with its work.",
    ),
    Family("penstock_leaving", "gauge", "1 from the moment the server was told to go."),
    Family("penstock_build_info", "gauge", "1, with the version as a label.", ("version",)),
)

FAMILIES: Mapping[str, Family] = {family.name: family for family in _TABLE}

_PAGE = """# Metrics

What `GET /metrics` says, in the text format of Prometheus or as OpenMetrics. [Metrics and alerts](../howto/metrics.md) says how to
scrape it and what to look at.

A label holds a name of the configuration or a word of this page: a model that the configuration does not name is `other`, and so is
a route that nobody serves. Ids, keys, addresses and words of clients and models are nowhere on the page. A series appears with
the first thing there is to count in it.

Names that begin with `gen_ai_` are those of OpenTelemetry's semantic conventions for generative AI, as Prometheus writes them. All
else that is ours begins with `penstock_`; a *stream* is what the code calls a run. `process_…` and `python_…` come from
`prometheus_client`, which describes them on the page itself.

{table}
"""


def reference() -> str:
    """The page `docs/reference/metrics.md`."""
    lines = ["| metric | kind | labels | what it says |", "| --- | --- | --- | --- |"]
    for family in _TABLE:
        labels = " ".join(f"`{label}`" for label in family.labels)
        lines.append(f"| `{family.name}` | {family.kind} | {labels} | {family.about} |")
    edges = sorted({family.edges for family in _TABLE if family.edges}, key=str)
    lines += ["", "## Buckets", ""]
    for each in edges:
        names = ", ".join(f"`{family.name}`" for family in _TABLE if family.edges == each)
        lines.append(f"- {' '.join(f'{edge:g}' for edge in each)}: {names}")
    return _PAGE.format(table="\n".join(lines))
