"""One token source, one bounded pipeline, three transports, any number of readers."""

from penstock.core.errors import Broken, Refused
from penstock.core.events import (
    Cancelled,
    Chunk,
    Closed,
    Delta,
    Event,
    Failed,
    Fault,
    Finished,
    Note,
    Opened,
    Spent,
    Started,
    ToolReturned,
    Usage,
)
from penstock.core.observer import Observer
from penstock.core.request import ChatRequest, Principal, Run
from penstock.core.source import Source, Stage
from penstock.library import Penstock

__version__ = "0.1.0"

__all__ = [
    "Broken",
    "Cancelled",
    "ChatRequest",
    "Chunk",
    "Closed",
    "Delta",
    "Event",
    "Failed",
    "Fault",
    "Finished",
    "Note",
    "Observer",
    "Opened",
    "Penstock",
    "Principal",
    "Refused",
    "Run",
    "Source",
    "Spent",
    "Stage",
    "Started",
    "ToolReturned",
    "Usage",
]
