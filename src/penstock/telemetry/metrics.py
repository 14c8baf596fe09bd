"""The observer that counts what happens into the families of `penstock.telemetry.families`.

Labels hold names of the configuration and words of this room, never a client's.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from penstock.core.errors import TABLE
from penstock.core.events import Cancelled, Failed, Finished, Terminal, Usage
from penstock.core.measure import Histogram
from penstock.core.observer import ARRIVED, Departure, Observer, Origin
from penstock.core.request import ChatRequest, Principal
from penstock.telemetry.families import FAMILIES, OTHER, Labels
from penstock.telemetry.loop_lag import HELD

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
        """Runs that were cancelled, or ended without an account by their provider, until their source has closed."""
        self.counters = {family.name: Counts() for family in FAMILIES.values() if family.kind == "counter"}
        self.histograms = {
            family.name: Distributions(family.edges) for family in FAMILIES.values() if family.kind == "histogram"
        }
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
        whole = isinstance(terminal, Finished)
        counted = live.usage is not None and live.usage.grade == "counted" and not whole
        if counted or isinstance(terminal, Cancelled):
            self._unsettled[run] = live  # its source may learn what it has used while it closes
        elif live.usage is not None:
            self._account(live, live.usage, seconds, whole=whole)

    def _settled(self, run: str) -> None:
        """Nothing more will be learnt of what a run has used."""
        live = self._unsettled.pop(run, None)
        if live is not None and live.usage is not None:
            self._account(live, live.usage, 0.0, whole=False)

    def _account(self, live: _Live, usage: Usage, seconds: float, *, whole: bool) -> None:
        model = live.labels[-1]
        if usage.cost is not None:
            self.counters["penstock_cost_total"].add((model,), usage.cost)
        counted = self.counters["penstock_counted_tokens_total"]
        tokens = self.histograms["gen_ai_client_token_usage"]
        for each in [attempt.usage for attempt in usage.attempts] or [usage]:
            if each.grade == "counted":
                counted.add((model, "input"), each.input)
                counted.add((model, "output"), each.output)
            else:
                tokens[(*live.calling, "input")].add(each.input)
                tokens[(*live.calling, "output")].add(each.output)
        if whole and usage.grade != "counted" and usage.output > 1:
            pace = (seconds - live.first) / (usage.output - 1)
            self.histograms["gen_ai_server_time_per_output_token_seconds"][live.calling].add(pace)

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
