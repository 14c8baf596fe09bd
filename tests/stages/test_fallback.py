"""The next target is asked when one fails before its first word, and all that were tried are named when none is left."""

from __future__ import annotations

import msgspec
import pytest

from penstock.core.cursor import Entry
from penstock.core.errors import fault
from penstock.core.events import Delta, Note, Opened, Usage
from penstock.core.request import Message, Principal
from penstock.core.source import Source
from penstock.core.target import House, Target, switch
from penstock.flow.policy import Policy
from penstock.flow.runs import Runs
from penstock.stages.attempt import MOST_HELD
from penstock.stages.fallback import build
from penstock.stores.memory import MemoryStore
from penstock.testing.sources import SoloRun
from tests.flow.scripted import Clock, Played, settle
from tests.stages.house import ASKED, STARTED, Scripted, house, refusing, saying, told, words


def falling_back(home: House) -> Source:
    return build(home)(switch(home))


async def test_nobody_notices_a_dead_target_but_by_a_note() -> None:
    home = house(a=(a := Scripted(refusing())), b=Scripted(saying("from b")))
    run = SoloRun()
    said, broken = await told(falling_back(home), run=run)
    assert (words(said), broken, a.closed, run.targets) == ("from b", None, 1, ["a", "b"])
    assert run.misses == [("a", "provider_unreachable")]
    assert said[0] == Note("fallback", {"from": "a", "to": "b", "after": "provider_unreachable"})
    assert said[1] == STARTED
    assert not any(isinstance(event, Note) for event in said[1:])


async def test_the_targets_are_asked_in_the_order_of_the_request() -> None:
    home = house(a=Scripted(saying("a")), b=Scripted(refusing()), c=Scripted(saying("c")))
    run = SoloRun()
    said, _ = await told(falling_back(home), msgspec.structs.replace(ASKED, targets=("b", "c")), run)
    assert (words(said), run.targets) == ("c", ["b", "c"])


async def test_when_none_is_left_all_that_were_tried_are_named_and_when_to_come_back() -> None:
    home = house(
        a=Scripted(refusing("provider_rate_limited", retry_after=20.0)),
        b=Scripted(refusing("provider_error", retry_after=3.0)),
    )
    _, broken = await told(falling_back(home))
    assert broken is not None
    assert (broken.fault.code, broken.fault.retry_after) == ("providers_exhausted", 3.0)
    assert broken.fault.message == "no target of 'fast' could answer (a: provider_rate_limited; b: provider_error)"


async def test_who_could_not_do_what_is_asked_is_named_with_those_that_failed() -> None:
    b = Target(name="", source=Scripted(saying("b")), lacks=frozenset({"images"}))
    home = house(a=Scripted(refusing()), b=b)
    picture: Message = {
        "role": "user",
        "content": [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}],
    }
    asked = msgspec.structs.replace(ASKED, messages=(picture,), targets=("a",))
    _, broken = await told(falling_back(home), asked)
    assert broken is not None
    assert broken.fault.message == "no target of 'fast' could answer (a: provider_unreachable; b: has no images)"


async def test_where_one_rests_and_the_only_other_fails_both_are_named() -> None:
    home = house(a=(a := Scripted(saying("a"))), b=Scripted(refusing()))
    for _ in range(5):
        home.health["a"].asked(0.0)
        home.health["a"].failed(fault("provider_error"), home.clock())
    _, broken = await told(falling_back(home), msgspec.structs.replace(ASKED, targets=("b",)))
    assert broken is not None
    assert (broken.fault.code, a.asked) == ("providers_exhausted", [])
    assert broken.fault.message == "no target of 'fast' could answer (b: provider_unreachable; a: rests)"


async def test_one_that_can_only_go_on_with_an_answer_fails_in_its_own_words() -> None:
    run = SoloRun()
    run.folder.add(Entry(1, 1, 0, Opened(0, "text")))
    home = house(a=Scripted(saying("a")), b=Scripted(refusing()))
    _, broken = await told(falling_back(home), msgspec.structs.replace(ASKED, targets=("b",)), run)
    assert broken is not None
    assert (broken.fault.code, run.misses) == ("provider_unreachable", [])


@pytest.mark.parametrize(("code", "why"), [("provider_error", "a failed"), ("target_busy", "a was busy")])
async def test_whoever_answers_instead_is_told_with_the_reason(code: str, why: str) -> None:
    class Asked(SoloRun):
        def speaks(self, target: str, why: str = "") -> None:
            reasons.append((target, why))

    reasons: list[tuple[str, str]] = []
    home = house(a=Scripted(refusing(code)), b=Scripted(saying("b")))
    await told(falling_back(home), run=Asked())
    assert ("b", why) in reasons


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        (["provider_refused", "provider_refused"], "provider_refused"),
        (["provider_auth", "context_too_long"], "context_too_long"),
        (["content_refused", "provider_model_unknown"], "content_refused"),
        (["provider_auth", "source_failed"], "provider_auth"),
        (["provider_refused", "provider_unreachable"], "providers_exhausted"),
    ],
)
async def test_nobody_is_told_to_ask_again_what_no_target_will_ever_answer(codes: list[str], code: str) -> None:
    a, b = (Scripted(refusing(each)) for each in codes)
    _, broken = await told(falling_back(house(a=a, b=b)))
    assert broken is not None
    assert (broken.fault.code, broken.fault.retryable) == (code, code == "providers_exhausted")
    assert f"(a: {codes[0]}; b: {codes[1]})" in broken.fault.message.replace("no target of 'fast' could answer: ", "")


@pytest.mark.parametrize("code", ["invalid_request", "cancelled"])
async def test_what_the_client_is_to_blame_for_no_other_target_mends(code: str) -> None:
    home = house(a=Scripted(refusing(code)), b=(b := Scripted(saying("b"))))
    _, broken = await told(falling_back(home))
    assert broken is not None
    assert (broken.fault.code, b.asked) == (code, [])


async def test_after_the_first_word_it_is_too_late() -> None:
    half = refusing("provider_truncated", after=[STARTED, Opened(0, "text"), Delta(0, "half")])
    home = house(a=Scripted(half), b=(b := Scripted(saying("b"))))
    said, broken = await told(falling_back(home))
    assert broken is not None
    assert (words(said), broken.fault.code, b.asked) == ("half", "provider_truncated", [])


async def test_a_target_that_talks_of_its_answer_and_never_begins_it_is_passed_over() -> None:
    talking = [STARTED, *[Usage(1, 0, "reported")] * (MOST_HELD + 1), *saying("too late")[1:]]
    said, broken = await told(falling_back(house(a=Scripted(talking), b=Scripted(saying("b")))))
    assert (words(said), broken, len(said)) == ("b", None, 1 + len(saying("b")))


async def test_leaving_closes_the_target_that_speaks() -> None:
    home = house(a=Scripted(refusing()), b=(b := Scripted(saying("b", "c"))))
    events = falling_back(home)(ASKED, SoloRun())
    async for event in events:
        if isinstance(event, Delta):
            break
    await events.aclose()
    assert (b.closed, home.health["b"].in_flight) == (1, 0)


async def test_a_target_that_raises_while_it_is_cancelled_is_no_reason_to_ask_another() -> None:
    async def trips() -> None:
        raise RuntimeError("in the clean-up")

    home = house(a=Played(STARTED, clean_up=trips), b=(b := Scripted(saying("b"))))
    runs = Runs(MemoryStore(clock=Clock()), clock=Clock())
    # Of two stages the outer one takes no notice of the note by which the inner one would learn that it is too late.
    source = build(home)(falling_back(home))
    handle = await runs.start(ASKED, source, Policy(), principal=Principal())
    await settle()
    runs.cancel(handle)
    await settle()
    assert (b.asked, handle.pump.closing) == ([], False)
    await runs.close()
