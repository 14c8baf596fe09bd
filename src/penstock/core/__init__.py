"""The law of a run: events, positions, errors and seams. Standard library and msgspec only; no clock, no loop, no socket."""
