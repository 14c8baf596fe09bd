"""An answer that broke in mid-sentence goes on at another target, as that one can; what cannot be continued stays broken."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from penstock.core.cursor import Entry
from penstock.core.errors import Broken
from penstock.core.events import Closed, Delta, Event, Finished, Json, Note, Opened, Spent, Started, ToolReturned, Usage
from penstock.core.source import Source
from penstock.core.target import Continues, House, Target, switch
from penstock.stages.continuation import INSTRUCTION, build
from penstock.testing.sources import SoloRun, check_source
from tests.stages.house import ASKED, STARTED, Answer, Scripted, house, saying, told, words

TEXT = Opened(0, "text")


def cut(*said: Event, code: str = "provider_truncated") -> Answer:
    """An answer that breaks after these events."""
    return [STARTED, *said, Broken(code)]


def half(*pieces: str) -> Answer:
    return cut(TEXT, *(Delta(0, piece) for piece in pieces))


def continuing(home: House) -> Source:
    return build(home)(switch(home))


def second(answer: Answer, continues: Continues = "instructed") -> tuple[Scripted, Target]:
    scripted = Scripted(answer)
    return scripted, Target(name="", source=scripted, continues=continues)


async def test_the_text_goes_on_in_the_part_that_is_open_and_a_note_names_the_joint() -> None:
    _, target = second(saying("brown ", "fox."))
    run = SoloRun()
    said, broken = await told(continuing(house(a=Scripted(half("The ", "quick ")), b=target)), run=run)
    assert (words(said), broken, run.targets) == ("The quick brown fox.", None, ["a", "b"])
    assert [event for event in said if isinstance(event, Opened | Started)] == [STARTED, TEXT]
    (note,) = [event for event in said if isinstance(event, Note)]
    assert (note.topic, note.body) == ("continuation", {
        "from": "a", "to": "b", "after": "provider_truncated", "strategy": "instructed", "offset": 10,
        "reasoning_carried": False, "used": {"input": 0, "output": 2},
    })  # fmt: skip
    assert said[-1] == Finished("stop")
    assert sum(isinstance(event, Closed) for event in said) == 1


@pytest.mark.parametrize(
    ("continues", "messages", "params"),
    [
        ("instructed", [{"role": "assistant", "content": "The quick "}, {"role": "user", "content": INSTRUCTION}], {}),
        ("prefill", [{"role": "assistant", "content": "The quick"}], {}),
        (
            "exact",
            [{"role": "assistant", "content": "The quick "}],
            {"continue_final_message": True, "add_generation_prompt": False},
        ),
    ],
)
async def test_the_next_target_is_asked_in_the_way_it_can_go_on(
    continues: Continues, messages: list[Any], params: dict[str, Any]
) -> None:
    b, target = second(saying("brown"), continues)
    asked = msgspec.structs.replace(ASKED, params={"max_tokens": 10})
    await told(continuing(house(a=Scripted(half("The ", "quick ")), b=target)), asked)
    (request,) = b.asked
    assert (list(request.messages[1:]), request.params) == (messages, {"max_tokens": 8, **params})


async def test_a_repetition_at_the_joint_is_left_out_but_not_where_the_engine_goes_on_from_the_very_token() -> None:
    _, told_to = second(saying("The qu", "ick brown"))
    said, _ = await told(continuing(house(a=Scripted(half("The ", "quick")), b=told_to)))
    assert words(said) == "The quick brown"
    _, exact = second(saying("quick", " quack"), "exact")
    said, _ = await told(continuing(house(a=Scripted(half("quick")), b=exact)))
    assert words(said) == "quickquick quack"


async def test_white_space_that_a_prefill_may_not_end_in_is_said_once() -> None:
    _, target = second(saying(" brown", " fox"), "prefill")
    said, _ = await told(continuing(house(a=Scripted(half("The ", "quick ")), b=target)))
    assert words(said) == "The quick brown fox"


async def test_a_target_that_begins_again_is_heard_from_where_the_first_broke_off_and_is_not_taken_for_silent() -> None:
    whole = [f"Sentence {number}. " for number in range(200)]
    said, broken = await told(continuing(house(a=Scripted(half(*whole[:150])), b=Scripted(saying(*whole)))))
    assert (words(said), broken) == ("".join(whole), None)
    notes = [note.body for note in said if isinstance(note, Note) and note.topic == "repetition"]
    assert notes == [{"characters": 1030}]


async def test_what_was_held_back_as_a_repetition_is_not_said_when_its_target_dies_too() -> None:
    c = Scripted(saying("brown fox."))
    home = house(a=Scripted(half("The quick ")), b=Scripted(half("The qu")), c=c)
    said, broken = await told(continuing(home))
    assert (words(said), broken) == ("The quick brown fox.", None)
    assert c.asked[0].messages[1] == {"role": "assistant", "content": "The quick "}


async def test_a_repetition_of_a_part_that_is_complete_is_left_out_of_the_next_part() -> None:
    complete = cut(TEXT, Delta(0, "The quick brown fox."), Closed(0))
    said, broken = await told(continuing(house(a=Scripted(complete), b=Scripted(saying("brown fox.", " It ran.")))))
    assert (words(said), broken) == ("The quick brown fox. It ran.", None)
    assert [event.part for event in said if isinstance(event, Opened)] == [0, 1]


async def test_who_dies_without_a_word_is_followed_by_the_next_whatever_it_died_of() -> None:
    silent = [Scripted(cut(code=code)) for code in ("provider_refused", "context_too_long", "content_refused")]
    home = house(a=Scripted(half("one ")), b=silent[0], c=silent[1], d=silent[2], e=Scripted(saying("two")))
    said, broken = await told(continuing(home))
    assert (words(said), broken) == ("one two", None)


async def test_where_nobody_goes_on_the_reader_is_told_how_the_answer_broke_off_and_who_was_asked() -> None:
    silent = Scripted(cut(code="provider_refused"))
    home = house(a=Scripted(half("one ")), b=Scripted(half("two")), c=silent, d=Scripted(cut(code="provider_error")))
    said, broken = await told(continuing(home))
    assert broken is not None
    assert (words(said), broken.fault.code, broken.fault.retryable) == ("one two", "provider_truncated", True)
    assert broken.fault.message.endswith("; no other target went on (c: provider_refused; d: provider_error)")


async def test_several_deaths_are_survived_one_after_the_other() -> None:
    home = house(a=Scripted(half("one, ")), b=Scripted(half("two, ")), c=Scripted(saying("three")))
    said, broken = await told(continuing(home))
    assert (words(said), broken) == ("one, two, three", None)
    assert [note.body["to"] for note in said if isinstance(note, Note)] == ["b", "c"]  # type: ignore[call-overload, index]


async def test_what_the_one_that_broke_used_is_settled_before_the_next_one_speaks() -> None:
    run = SoloRun()
    home = house(a=Scripted(half("The ", "quick ")), b=Scripted(saying("brown ", "fox.")))
    said, _ = await told(continuing(home), run=run)
    assert run.used == [Spent("a", Usage(0, 2, "counted"))]
    assert [event for event in said if isinstance(event, Usage)] == [Usage(3, 2, "reported")]


async def test_reasoning_is_closed_and_not_carried() -> None:
    thinking = cut(Opened(0, "reasoning"), Delta(0, "hm"))
    b, target = second([STARTED, Opened(0, "reasoning"), Delta(0, "aha"), Closed(0), Opened(1, "text"), Delta(1, "yes"),
                        Closed(1), Finished()])  # fmt: skip
    said, broken = await told(continuing(house(a=Scripted(thinking), b=target)))
    assert broken is None
    assert b.asked[0].messages == ASKED.messages
    assert [(event.part, event.kind) for event in said if isinstance(event, Opened)] == [
        (0, "reasoning"), (1, "reasoning"), (2, "text"),
    ]  # fmt: skip
    assert [event.part for event in said if isinstance(event, Closed)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("said", "params"),
    [
        ([Opened(0, "tool_call", name="f", call_id="c"), Delta(0, '{"a":')], {}),
        (
            [
                Opened(0, "tool_call", name="f", call_id="c"),
                Delta(0, "{}"),
                Closed(0),
                Opened(1, "text"),
                Delta(1, "x"),
            ],
            {},
        ),
        ([TEXT, Delta(0, "x"), ToolReturned("c", "done")], {}),
        ([TEXT, Delta(0, '{"a":')], {"response_format": {"type": "json_object"}}),
        ([TEXT, Delta(0, '{"a":')], {"guided_json": {"type": "object"}}),
        ([TEXT, Delta(0, "x"), Opened(1, "text", 1), Delta(1, "y")], {}),
        ([TEXT, Delta(0, "x")], {"n": 2}),
    ],
    ids=[
        "within-a-call",
        "after-a-call",
        "after-a-tool-ran",
        "structured",
        "by-a-grammar",
        "choices",
        "choices-to-come",
    ],
)
async def test_what_cannot_be_continued_honestly_stays_broken(said: Sequence[Event], params: dict[str, Any]) -> None:
    b, target = second(saying("more"))
    asked = msgspec.structs.replace(ASKED, params=params)
    _, broken = await told(continuing(house(a=Scripted(cut(*said)), b=target)), asked)
    assert broken is not None
    assert (broken.fault.code, b.asked) == ("provider_truncated", [])


@pytest.mark.parametrize("code", ["content_refused", "total_timeout", "source_failed", "cancelled"])
async def test_what_another_target_would_not_mend_stays_broken(code: str) -> None:
    b, target = second(saying("more"))
    _, broken = await told(continuing(house(a=Scripted(cut(TEXT, Delta(0, "x"), code=code)), b=target)))
    assert broken is not None
    assert (broken.fault.code, b.asked) == (code, [])


EMPTY: Answer = [STARTED, Finished()]


async def test_who_is_told_to_go_on_and_says_nothing_has_not_completed_the_answer() -> None:
    said, broken = await told(
        continuing(house(a=Scripted(half("one, ")), b=Scripted(EMPTY), c=Scripted(saying("two"))))
    )
    assert (words(said), broken) == ("one, two", None)
    _, broken = await told(continuing(house(a=Scripted(half("one, ")), b=Scripted(EMPTY))))
    assert broken is not None
    assert broken.fault.message.endswith("; no other target went on (b: provider_truncated)")


@pytest.mark.parametrize("continues", ["prefill", "exact"])
async def test_who_has_nothing_to_add_to_its_own_words_has_completed_the_answer(continues: Continues) -> None:
    _, target = second(EMPTY, continues)
    said, broken = await told(continuing(house(a=Scripted(half("one.")), b=target)))
    assert (words(said), broken, said[-1]) == ("one.", None, Finished("stop"))


async def test_a_target_that_does_not_continue_is_passed_over() -> None:
    never, unable = second(saying("no"), "no")
    said, _ = await told(continuing(house(a=Scripted(half("one ")), b=unable, c=Scripted(saying("two")))))
    assert (words(said), never.asked) == ("one two", [])


async def test_before_the_first_word_it_leaves_the_failure_to_others() -> None:
    b, target = second(saying("b"))
    _, broken = await told(continuing(house(a=Scripted(cut()), b=target)))
    assert broken is not None
    assert (broken.fault.code, b.asked) == ("provider_truncated", [])


async def test_it_keeps_the_law_of_sources_wherever_it_is_left() -> None:
    def fresh() -> Source:
        return continuing(house(a=Scripted(half("The ", "quick ")), b=Scripted(saying("brown ", "fox."))))

    async def source(request: Any, run: Any) -> Any:
        async with aclosing(fresh()(request, run)) as events:
            async for event in events:
                place = run.folder.through + 1
                run.folder.add(Entry(place, place, 0, event))
                yield event

    said, broken = await check_source(source, ASKED)
    assert (words(said), broken) == ("The quick brown fox.", None)


async def test_what_was_cited_before_and_after_the_joint_has_its_places_in_the_whole_text() -> None:
    first: Json = {"quote": "now", "start": 0, "end": 5}
    broken = cut(TEXT, Delta(0, "Now: "), Note("block", {"part": 0, "at": 5, "citations": [first]}), Delta(0, "The qu"))
    _, target = second([
        STARTED, Opened(3, "text"), Delta(3, "The qu"), Delta(3, "ick "), Note("block", {"part": 3, "at": 10}),
        Delta(3, "fox"), Closed(3, {"citations": [{"quote": "fox", "start": 10, "end": 13}, "odd"]}), Finished("stop"),
    ])  # fmt: skip
    said, _ = await told(continuing(house(a=Scripted(broken), b=target)))
    assert words(said) == "Now: The quick fox"
    assert [event.body for event in said if isinstance(event, Note) and event.topic == "block"] == [
        {"part": 0, "at": 5, "citations": [first]},
        {"part": 0, "at": 15},
    ]
    (closed,) = [event for event in said if isinstance(event, Closed)]
    assert closed.meta == {"citations": [first, {"quote": "fox", "start": 15, "end": 18}, "odd"]}
