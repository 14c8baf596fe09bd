"""A signature travels in the id of its call and comes back whole; any other id stays as it is."""

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.core.events import Json
from penstock.core.signed_call import MARK, signed_id, unsigned


def signed(signature: Json, call_id: str = "call_1") -> str:
    return signed_id(call_id, {"extra_content": {"google": {"thought_signature": signature}}})


@given(st.binary(min_size=1), st.sampled_from(["call_1", "a_-b", "é"]))
@example(base64.b64decode("//signed/abc"), "call_1")
def test_a_signature_goes_out_in_letters_of_an_id_and_comes_back(signature: bytes, call_id: str) -> None:
    told = base64.b64encode(signature).decode()
    whole = signed(told, call_id)
    assert not set("+/=") & set(whole)
    assert unsigned(whole) == (call_id, {"extra_content": {"google": {"thought_signature": told}}})


@pytest.mark.parametrize("signature", ["", "a", "a-_=", "Ej QK", "é", "YQ==\n", 7, None])
def test_what_is_no_base64_has_no_way_there_and_back(signature: Json) -> None:
    assert signed(signature) == "call_1"


def test_an_id_with_a_mark_of_its_own_is_not_signed() -> None:
    assert signed("EjQK", f"a{MARK}b") == f"a{MARK}b"


@given(st.text())
@example("call_1")
@example(f"call_1{MARK}")
@example(f"{MARK}EjQK")
@example(f"call_1{MARK}E")
@example(f"call_1{MARK}Ej+K")
def test_an_id_that_nobody_signed_is_an_id(told: str) -> None:
    assert unsigned(told) == (told, {})
