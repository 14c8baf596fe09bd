"""What is counted, and what it is called: one table of metric families, and the observer that counts into them.

Names of OpenTelemetry's semantic conventions for generative AI (open-telemetry/semantic-conventions-genai, of November 2026) where
they have one, written as Prometheus writes them: dots become underscores, the unit of seconds is a suffix. What they do not
know begins with `penstock_`. Labels hold names of the configuration and words of this file, never a client's.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import msgspec

from penstock.core.errors import TABLE
from penstock.core.events import Cancelled, Failed, Finished, Terminal, Usage
from penstock.core.measure import MOMENTS, Histogram
from penstock.core.observer import ARRIVED, Departure, Observer, Origin
from penstock.core.request import ChatRequest, Principal
from penstock.telemetry.loop_lag import HELD

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


RESUMES = {"bad_cursor": "malformed", "cursor_ahead": "ahead", "cursor_gone": "gone"}
"""What a refused cursor is called among the results of coming back."""


class Counts(dict[Labels, float]):
    """A counter: value by labels."""

    def add(self, labels: Labels = (), by: float = 1.0) -> None:
        self[labels] = self.get(labels, 0.0) + by


class Distributions(dict[Labels, Histogram]):
    """Histograms by labels."""

    def __init__(self, edges: Sequence[float]):
        super().__init__()
        self._edges = edges

    def __missing__(self, labels: Labels) -> Histogram:
        made = self[labels] = Histogram(self._edges)
        return made


class _Live:
    """A run that has not ended: how it is labelled, and what is known of it."""

    __slots__ = ("calling", "first", "labels", "usage")

    def __init__(self, labels: Labels, calling: Labels):
        self.labels = labels
        """Route, transport, model."""
        self.calling = calling
        """Operation, provider, model."""
        self.first = 0.0
        """Seconds until it spoke."""
        self.usage: Usage | None = None


class Metrics(Observer):
    """Counts what it is told. `models` are the names that may be labels; what happened under any other is counted as `other`."""

    def __init__(self, models: Collection[str] = ()):
        self.models = frozenset(models)
        """They may change while the server runs."""
        self._live: dict[str, _Live] = {}
        self._unsettled: dict[str, _Live] = {}
        """Runs that have ended without an account by their provider, until their source has closed."""
        self.counters = {family.name: Counts() for family in _TABLE if family.kind == "counter"}
        self.histograms = {family.name: Distributions(family.edges) for family in _TABLE if family.kind == "histogram"}
        counters, histograms = self.counters, self.histograms
        self._started = counters["penstock_streams_started_total"]
        self._ended = counters["penstock_streams_total"]
        self._attached = counters["penstock_readers_attached_total"]
        self._left = counters["penstock_readers_left_total"]
        self._durations = histograms["gen_ai_client_operation_duration_seconds"]
        self._overheads = histograms["penstock_overhead_seconds"]
        self._firsts = histograms["gen_ai_client_operation_time_to_first_chunk_seconds"]
        self._stays = histograms["penstock_reader_seconds"]
        self._shares = histograms["penstock_reader_read_ratio"]

    # -- runs ----------------------------------------------------------------------------------------------------------

    def run_started(self, run: str, request: ChatRequest, principal: Principal, origin: Origin) -> None:
        model = request.model if request.model in self.models else OTHER
        if arrived := ARRIVED.get():
            self._overheads[(origin.transport,)].add(time.monotonic() - arrived)
        live = self._live[run] = _Live((origin.route, origin.transport, model), ("chat", origin.provider, model))
        self._started.add(live.labels)

    def target_chosen(self, run: str, target: str, why: str) -> None:
        self.counters["penstock_target_choices_total"].add((target, why))

    def first_word(self, run: str, seconds: float) -> None:
        live = self._live[run]
        live.first = seconds
        self._firsts[live.calling].add(seconds)

    def source_paused(self, run: str, seconds: float) -> None:
        self.counters["penstock_stream_backpressure_seconds_total"].add((), seconds)

    def tokens_counted(self, run: str, usage: Usage) -> None:
        if (live := self._live.get(run) or self._unsettled.get(run)) is not None:
            live.usage = usage

    def run_ended(self, run: str, terminal: Terminal, seconds: float, entries: int) -> None:
        live = self._live.pop(run)
        outcome, code = _outcome(terminal)
        self._ended.add((*live.labels, outcome))
        self._durations[(*live.calling, code)].add(seconds)
        if isinstance(terminal, Failed):
            self.counters["penstock_stream_failures_total"].add((code,))
        if live.usage is None:
            return
        if live.usage.grade == "counted" and not isinstance(terminal, Finished):
            self._unsettled[run] = live  # its source may learn what it has used while it closes
        else:
            self._account(live, live.usage, seconds, whole=isinstance(terminal, Finished))

    def _settled(self, run: str) -> None:
        """Nothing more will be learnt of what a run has used."""
        live = self._unsettled.pop(run, None)
        if live is not None and live.usage is not None:
            self._account(live, live.usage, 0.0, whole=False)

    def _account(self, live: _Live, usage: Usage, seconds: float, *, whole: bool) -> None:
        model = live.labels[-1]
        if usage.cost is not None:
            self.counters["penstock_cost_total"].add((model,), usage.cost)
        if usage.grade == "counted":
            counted = self.counters["penstock_counted_tokens_total"]
            counted.add((model, "input"), usage.input)
            counted.add((model, "output"), usage.output)
            return
        tokens = self.histograms["gen_ai_client_token_usage"]
        tokens[(*live.calling, "input")].add(usage.input)
        tokens[(*live.calling, "output")].add(usage.output)
        if whole and usage.output > 1:
            each = (seconds - live.first) / (usage.output - 1)
            self.histograms["gen_ai_server_time_per_output_token_seconds"][live.calling].add(each)

    def run_forgotten(self, run: str, share: float) -> None:
        self.histograms["penstock_stream_read_ratio"][()].add(share)
        self._settled(run)

    def source_stopped(self, run: str, terminal: Terminal, seconds: float) -> None:
        self._settled(run)
        by = terminal.by if isinstance(terminal, Cancelled) else "limit"
        self.histograms["penstock_cancel_seconds"][(by if by in CANCELLERS else OTHER,)].add(seconds)

    def source_abandoned(self, run: str) -> None:
        self.counters["penstock_sources_abandoned_total"].add()
        self._settled(run)

    def source_raised(self, run: str, error: BaseException) -> None:
        self.counters["penstock_sources_raised_total"].add()

    # -- readers -------------------------------------------------------------------------------------------------------

    def reader_attached(self, run: str, after: int, transport: str) -> None:
        self._attached.add((transport,))

    def reader_left(self, run: str, departure: Departure) -> None:
        cause = (departure.reason,)
        self._left.add((departure.transport, departure.reason))
        self._stays[cause].add(departure.seconds)
        self._shares[cause].add(departure.share)

    def resumed(self, result: str) -> None:
        self.counters["penstock_resume_total"].add((result,))

    # -- requests, connections, the process -------------------------------------------------------------------------------

    def refused(self, code: str, route: str) -> None:
        self.counters["penstock_refusals_total"].add((code, route or OTHER))
        if (result := RESUMES.get(code)) is not None:
            self.resumed(result)

    def request_failed(self, request_id: str, path: str, error: BaseException) -> None:
        self.counters["penstock_request_failures_total"].add()

    def connection_refused(self, cause: str) -> None:
        self.counters["penstock_connections_refused_total"].add((cause,))

    def connection_dropped(self, cause: str) -> None:
        self.counters["penstock_connections_dropped_total"].add((cause,))

    def background_failed(self, error: BaseException) -> None:
        self.counters["penstock_background_failures_total"].add()

    def lagged(self, seconds: float) -> None:
        """The event loop came so late to a timer."""
        self.histograms["penstock_loop_lag_seconds"][()].add(seconds)
        if seconds > HELD:
            self.counters["penstock_loop_holds_total"].add()


CANCELLERS = frozenset({"client", "disconnect", "grace", "server", "limit"})
DESERTIONS = frozenset({"disconnect", "grace"})
BLAMED = {"provider": "upstream_error", "server": "server_error", "client": "client_error"}


def _outcome(terminal: Terminal) -> tuple[str, str]:
    """How a run ended in one word, and the value of `error_type`: empty for one that did not fail."""
    match terminal:
        case Finished():
            return "completed", ""
        case Cancelled(by):
            return ("client_gone" if by in DESERTIONS else "cancelled"), ""
        case Failed(error):
            if error.code == "interrupted":
                return "interrupted", error.code
            if (row := TABLE.get(error.code)) is None:
                return "upstream_error", OTHER
            return BLAMED[row.blame], error.code
