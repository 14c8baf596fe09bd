"""The one table of errors, and what is made of its rows."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from penstock.core.errors import TABLE, Broken, Refused, fault
from penstock.core.events import Fault

every_code = pytest.mark.parametrize("code", TABLE)


@every_code
def test_a_status_is_an_error_that_http_knows(code: str) -> None:
    assert 400 <= HTTPStatus(TABLE[code].status) <= 599


@every_code
def test_a_close_code_may_be_sent_and_says_whether_to_come_back(code: str) -> None:
    row = TABLE[code]
    assert row.close in {1009, 1011, 1012, 1013} or 4000 <= row.close <= 4999
    if row.close >= 4000:
        assert row.retryable == (row.close < 4500)


@every_code
def test_a_meaning_is_a_sentence(code: str) -> None:
    meaning = TABLE[code].meaning
    assert (meaning[0].isupper(), meaning[-1]) == (True, ".")


@every_code
def test_a_code_is_a_close_reason_that_fits(code: str) -> None:
    assert code.isascii()
    assert len(code) <= 123


@every_code
def test_the_client_is_blamed_with_4xx_and_the_server_with_5xx(code: str) -> None:
    row = TABLE[code]
    if row.blame != "provider":
        assert (row.status < 500) == (row.blame == "client")


def test_the_meaning_stands_in_for_a_message() -> None:
    assert fault("overloaded") == Fault("overloaded", TABLE["overloaded"].meaning, True)
    assert fault("bad_cursor", "no", param="after") == Fault("bad_cursor", "no", False, None, "after")


def test_a_code_that_is_not_in_the_table_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        fault("made_up")


def test_exceptions_carry_the_fault_a_client_is_shown() -> None:
    assert Refused("input_full", retry_after=2).fault == fault("input_full", retry_after=2)
    assert Broken("provider_overloaded", "busy", retry_after=9).fault == fault(
        "provider_overloaded", "busy", retry_after=9
    )
    assert str(Refused("bad_cursor", "send it back as it was")) == "send it back as it was"
