"""Law 3: what has been said is the same however it is added up, and forgetting its beginning changes nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.cursor import Entry
from penstock.testing.laws.snapshots import check_snapshot, check_trimming
from penstock.testing.strategies import batches, runs
from tests.laws.pairs import laws


@laws
@given(pieces=runs().flatmap(batches))
def test_folding_at_once_one_by_one_and_merged_agree(pieces: list[list[Entry]]) -> None:
    check_snapshot(pieces)


@laws
@given(entries=runs(), limit=st.integers(0, 60))
def test_trimming_forgets_the_beginning_of_parts_and_nothing_else(entries: list[Entry], limit: int) -> None:
    check_trimming(entries, limit)
