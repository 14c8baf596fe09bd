"""How all runs and readers stand at one moment: asked by whoever scrapes, and counted then, so that nothing is counted per token."""

from __future__ import annotations

from penstock.core.lifecycle import Phase
from penstock.core.measure import Attendance, Levels
from penstock.flow.reader import Reader
from penstock.flow.runs import Runs


def levels(runs: Runs, *, tasks: int = 0, connections: int | None = None) -> Levels:
    """One look at every run that lives or is read."""
    live: dict[str, int] = {}
    attending: dict[str, Attendance] = {}
    events, said = runs.events, runs.said
    for handle in runs.active.values():
        log = handle.log
        if handle.state is not Phase.ENDED:
            live[handle.transport] = live.get(handle.transport, 0) + 1
            events += log.last
            said += log.said
        for reader in log.readers:
            if reader.delivery is not None:
                _attend(attending.setdefault(reader.delivery.transport, Attendance()), reader, log.shown)
    return Levels(
        live=live,
        held=len(runs.by_id),
        kept=runs.kept,
        events=events,
        said=said,
        attending=attending,
        delivered=runs.delivered,
        leaving=runs.admission.leaving,
        shedding=runs.admission.shedding or runs.admission.lagging,
        memory=runs.memory.reading() if runs.memory is not None else None,
        connections=connections,
        tasks=tasks,
    )


def _attend(attendance: Attendance, reader: Reader, shown: int) -> None:
    owed = reader.owed
    attendance.readers += 1
    attendance.taken += reader.offset - reader.start
    attendance.owed_events += shown - reader.offset
    attendance.owed_bytes += owed
    attendance.most_owed = max(attendance.most_owed, owed)
