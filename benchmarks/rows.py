"""A line of a table beside the scenarios: what was measured, in columns, each with one sample per repetition."""

from __future__ import annotations

import msgspec


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """`group` is the name the table is asked for by; the units stand in the columns' names."""

    group: str
    label: str
    columns: dict[str, list[float]]
    fault: str = ""
    """What makes the figures worthless, such as a token that went wrong; empty for nothing."""
