"""URLs that carry a right: good for one run, one right, and so long."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.auth.capability import LONGEST, Capabilities
from penstock.core.cursor import new_run_id

RUN = new_run_id()


def capabilities(secret: str = "s" * 32, *, now: float = 1000.0) -> Capabilities:
    return Capabilities(secret, clock=lambda: now)


def test_a_token_gives_what_it_says_on_its_run() -> None:
    ours = capabilities()
    assert ours.rights(RUN, ours.token(RUN, "read", expires=2000)) == ("read",)
    assert ours.rights(RUN, ours.token(RUN, "cancel", expires=2000)) == ("read", "cancel")


def test_a_token_is_nothing_on_another_run() -> None:
    ours = capabilities()
    assert ours.rights(new_run_id(), ours.token(RUN, "read", expires=2000)) == ()


def test_a_token_ends_at_its_expiry() -> None:
    token = capabilities().token(RUN, "read", expires=2000)
    assert capabilities(now=1999.9).rights(RUN, token) == ("read",)
    assert capabilities(now=2000.0).rights(RUN, token) == ()


def test_any_letter_changed_spoils_it() -> None:
    ours = capabilities()
    token = ours.token(RUN, "read", expires=2000)
    for place in range(len(token)):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        # The last letter of 32 bytes in base64 carries two bits that mean nothing; they are compared all the same.
        assert ours.rights(RUN, changed) == ()


def test_a_right_or_a_time_that_was_not_signed_is_none() -> None:
    ours = capabilities()
    _, expires, mac = ours.token(RUN, "read", expires=2000).split(".")
    for told in (f"c.{expires}", "r.fffffff", f"r.{expires}.{expires}"):
        assert ours.rights(RUN, f"{told}.{mac}") == ()


@given(st.text(max_size=LONGEST + 10))
def test_any_other_text_is_no_token(text: str) -> None:
    assert capabilities().rights(RUN, text) == ()


def test_servers_with_one_secret_believe_each_other_and_no_others() -> None:
    token = capabilities("a" * 32).token(RUN, "read", expires=2000)
    assert capabilities("a" * 32).rights(RUN, token) == ("read",)
    assert capabilities("b" * 32).rights(RUN, token) == ()
    assert capabilities("").rights(RUN, token) == ()


def test_without_a_secret_each_process_takes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def token_bytes(size: int) -> bytes:
        sizes.append(size)
        return bytes(size)

    monkeypatch.setattr(secrets, "token_bytes", token_bytes)
    Capabilities()
    assert sizes == [32]


def test_a_token_fits_into_a_url_as_it_is() -> None:
    token = capabilities().token(RUN, "cancel", expires=2**33)
    assert len(token) <= LONGEST
    assert set(token) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
