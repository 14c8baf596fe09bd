"""Of several parts that say why their choice ended, the one that was opened last has the say."""

from itertools import permutations

import pytest

from penstock.core.events import Finished, Json
from penstock.core.finish_reason import FinishReason
from penstock.core.snapshot import PartSoFar, Snapshot

SAID: dict[int, dict[str, Json] | None] = {
    0: {"finish_reason": "length"},
    1: {"finish_reason": "tool_calls"},
    2: {"cut": True},
    3: None,
    4: {"finish_reason": 7},
    5: {"finish_reason": ""},
}


@pytest.mark.parametrize("order", list(permutations(SAID, 3)))
def test_the_order_in_which_parts_close_is_none_of_its_business(order: tuple[int, ...]) -> None:
    reason = FinishReason()
    for part in order:
        reason.closed(part, SAID[part])
    assert reason.word("stop") == ("tool_calls" if 1 in order else "length" if 0 in order else "stop")


def test_a_snapshot_says_it_of_each_choice() -> None:
    parts = (
        PartSoFar(0, "text", closed=True, meta={"finish_reason": "length"}),
        PartSoFar(1, "text", choice=1, closed=True),
    )
    assert [Snapshot(parts=parts, end=Finished("tool_calls")).finish_reason(n) for n in (0, 1)] == [
        "length",
        "tool_calls",
    ]
    assert Snapshot(parts=parts).finish_reason(1) == "stop"
