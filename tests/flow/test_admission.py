"""When nothing new begins, and what is said then."""

import pytest

from penstock.core.errors import Refused
from penstock.flow.admission import Admission


def test_a_loop_that_comes_late_twice_in_a_row_begins_nothing_new_until_it_is_in_time_again() -> None:
    admission = Admission(max_lag=2.0)
    admission.late(6.0)
    admission.check()
    admission.late(6.0)
    with pytest.raises(Refused, match="behind with its work") as refused:
        admission.check()
    assert (refused.value.fault.code, refused.value.fault.retry_after) == ("overloaded", 2)
    admission.late(0.01)
    admission.check()
