"""Keys: how they are written, which are let in, and that nothing about them can be guessed or read."""

import asyncio
import re
import time
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.auth import keys as module
from penstock.auth.grant import Allowance, Grant
from penstock.auth.keys import Key, KeyAuthenticator, made_up, new_key
from penstock.core.errors import Refused
from penstock.core.request import Principal

MADE_UP = "correct-horse-battery-staple"


def let_in(authenticator: KeyAuthenticator, credential: str) -> Grant:
    return asyncio.run(authenticator.authenticate(credential, {}))


def refusal(authenticator: KeyAuthenticator, credential: str) -> str:
    with pytest.raises(Refused) as refused:
        let_in(authenticator, credential)
    assert refused.value.fault.code == "unauthenticated"
    return refused.value.fault.message


def test_a_key_names_itself_and_carries_a_checksum() -> None:
    text, key = new_key("alice")
    assert re.fullmatch(r"psk_[a-z2-7]{10}_[0-9A-Za-z]{49}", text)
    assert text.split("_")[1] == key.id
    assert len({new_key("alice")[0] for _ in range(50)}) == 50


def test_what_is_kept_of_a_key_does_not_hold_it() -> None:
    text, key = new_key("alice")
    secret = text.split("_")[2]
    assert secret not in repr(key)
    assert secret.encode() not in key.digest


def test_a_key_lets_its_owner_in_with_what_it_grants() -> None:
    text, key = new_key(
        "alice", models=("fast", "openai/*"), routes=("/v1/streams",), allowance=Allowance(concurrent_runs=3)
    )
    grant = let_in(KeyAuthenticator([key]), text)
    assert grant == Grant(
        principal=Principal("alice"),
        credential=key.id,
        models=("fast", "openai/*"),
        routes=("/v1/streams",),
        allowance=Allowance(concurrent_runs=3),
    )
    asked = ("fast", "openai/gpt", "faster", "anthropic/x")
    assert [grant.may_ask(model) for model in asked] == [True, True, False, False]
    assert [grant.may_begin(route) for route in ("/v1/streams", "/api/chat")] == [True, False]


def test_a_key_without_limits_of_its_own_has_those_of_the_server() -> None:
    text, key = new_key("alice")
    server = Allowance(runs_per_minute=9)
    assert let_in(KeyAuthenticator([key], allowance=server), text).allowance == server


@pytest.mark.parametrize("change", ["cut", "longer", "in-capitals"])
def test_a_misspelt_key_is_told_so(change: str) -> None:
    text, key = new_key("alice")
    wrong = {"cut": text[:-1], "longer": text + "a", "in-capitals": "psk_" + text[4:].upper()}[change]
    assert refusal(KeyAuthenticator([key]), wrong) == "the key is misspelt: its checksum is wrong; copy it again"


def test_one_letter_wrong_anywhere_is_refused() -> None:
    text, key = new_key("alice")
    authenticator = KeyAuthenticator([key])
    for place in range(len(text)):
        other = "b" if text[place] != "b" else "c"
        refusal(authenticator, text[:place] + other + text[place + 1 :])


def test_a_key_of_another_server_is_not_known() -> None:
    _, key = new_key("alice")
    other, _ = new_key("alice")
    assert refusal(KeyAuthenticator([key]), other) == "the key is not known here: it never was, or has been revoked"


def test_the_right_id_with_another_secret_is_refused() -> None:
    text, key = new_key("alice")
    other, _ = new_key("alice")
    forged = f"psk_{key.id}_{other.split('_')[2][:43]}"
    forged += module._checksum(forged)
    assert refusal(KeyAuthenticator([key]), forged) == "the key is not known here: it never was, or has been revoked"
    assert let_in(KeyAuthenticator([key]), text).principal == Principal("alice")


@given(st.text(max_size=80))
@example("' OR '1'='1")
@example("psk_")
@example("*")
@example("\0")
def test_no_other_text_is_let_in(credential: str) -> None:
    _, key = new_key("alice")
    refusal(KeyAuthenticator([key, *made_up(MADE_UP)]), credential)


def test_an_expired_key_is_refused_and_only_its_bearer_is_told() -> None:
    now = 1000.0
    text, key = new_key("alice", expires=1001)
    authenticator = KeyAuthenticator([key], clock=lambda: now)
    grant = let_in(authenticator, text)
    assert authenticator.standing(grant) == grant
    now = 1001.0
    assert refusal(authenticator, text) == "the key has expired; ask for a new one"
    assert authenticator.standing(grant) is None
    assert authenticator.standing(Grant(principal=Principal("alice"))) is None


def test_hashes_are_compared_in_constant_time_also_for_unknown_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(ours: bytes, theirs: bytes) -> bool:
        compared.append((ours, theirs))
        return ours == theirs

    monkeypatch.setattr(module, "compare_digest", compare)
    text, key = new_key("alice")
    let_in(KeyAuthenticator([key]), text)
    refusal(KeyAuthenticator([]), text)
    refusal(KeyAuthenticator([]), MADE_UP)
    assert [len(ours) for ours, _ in compared] == [32, 32, 32]
    assert compared[0] == (key.digest, key.digest)


class Given:
    """A ring the test changes."""

    def __init__(self, *keys: Key):
        self.held: Mapping[str, Key] = {key.id: key for key in keys}

    def keys(self) -> Mapping[str, Key]:
        return self.held


def test_a_revoked_key_is_not_known_any_more_and_its_grant_is_withdrawn() -> None:
    text, key = new_key("alice")
    ring = Given(key)
    authenticator = KeyAuthenticator(ring=ring)
    grant = let_in(authenticator, text)
    ring.held = {}
    assert refusal(authenticator, text) == "the key is not known here: it never was, or has been revoked"
    assert authenticator.standing(grant) is None


def test_while_one_of_two_keys_of_a_name_is_left_the_owner_is_still_there() -> None:
    (old, first), (_, second) = new_key("alice"), new_key("alice")
    ring = Given(first, second)
    authenticator = KeyAuthenticator(ring=ring)
    grant = let_in(authenticator, old)
    ring.held = {second.id: second}
    assert authenticator.standing(grant) is None
    standing = authenticator.standing(Grant(principal=Principal("alice")))
    assert standing is not None
    assert standing.credential == second.id


# -- keys from the environment -----------------------------------------------------------------------------------------


def test_keys_may_be_any_secret_words_with_a_name_or_without() -> None:
    text, _ = new_key("whatever")
    named, nameless, ours = made_up(f"web:{MADE_UP}, {MADE_UP}-too\n{text}")
    assert named.name == "web"
    assert re.fullmatch(r"key-[0-9a-f]{8}", nameless.name)
    assert ours.name == f"key-{text.split('_')[1][:8]}"
    authenticator = KeyAuthenticator([named, nameless, ours])
    names = [let_in(authenticator, key).principal.name for key in (MADE_UP, f"{MADE_UP}-too", text)]
    assert names == [named.name, nameless.name, ours.name]
    refusal(authenticator, f"web:{MADE_UP}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no key in it"),
        (" , ,", "there is no key in it"),
        ("hunter2", "key 1 must have 20 to 512 characters"),
        (f"{MADE_UP},hunter2", "key 2 must have 20 to 512 characters"),
        (f"{MADE_UP}é", "characters of ASCII"),
        ("x" * 513, "key 1 must have 20 to 512 characters"),
        (f"a b/:{MADE_UP}", "key 1 must have 20"),
        (f"a/b:{MADE_UP}", "a key cannot be called 'a/b'"),
        (f":{MADE_UP}", "a key cannot be called ''"),
        ("psk_" + "a" * 60, "key 1 is misspelt"),
    ],
)
def test_keys_that_cannot_be_are_named_by_number_and_not_shown(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as wrong:
        made_up(text)
    assert "hunter2" not in str(wrong.value)
    assert MADE_UP not in str(wrong.value)


@pytest.mark.parametrize("name", ["", " ", "-", "a b", "a\n", "ä", "a" * 65, "a/b"])
def test_a_name_that_would_confuse_a_log_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="a key cannot be called"):
        new_key(name)


def test_the_clock_of_keys_is_the_wall_clock() -> None:
    text, key = new_key("alice", expires=int(time.time()) + 1000)
    assert let_in(KeyAuthenticator([key]), text).principal.name == "alice"
