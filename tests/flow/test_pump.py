"""The pump: a source is driven into its log, steered, and ended once, however it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import msgspec
import pytest

from penstock.core.errors import Broken, Refused, fault
from penstock.core.events import Cancelled, Chunk, Closed, Delta, Event, Failed, Finished, Note, Opened, Started, Usage
from penstock.core.lifecycle import IllegalEvent, Phase
from penstock.core.request import ChatRequest, Run
from tests.flow.scripted import OPENED, STARTED, Played, answer, drained, held, never, settle
from tests.flow.stand import CUT, Stand


async def test_a_whole_answer_stands_in_the_log_as_it_was_said() -> None:
    source = Played(*answer("Hel", "lo"))
    stand = Stand(source)
    await settle()
    assert stand.events == answer("Hel", "lo")
    assert stand.ended_well() == Finished()
    assert (source.asked, source.closed) == (1, 1)
    assert stand.seen.raised == []


async def test_entries_carry_the_milliseconds_since_the_run_began() -> None:
    source = Played(STARTED)
    stand = Stand(source)
    await settle()
    stand.clock.turn(0.25)
    source.say(OPENED)
    await settle()
    stand.clock.turn(1.5)
    source.say(Delta(0, "x"), Closed(0), Finished())
    await settle()
    assert [entry.at for entry in held(stand.log)] == [0, 250, 1750, 1750, 1750]
    assert stand.seen.first_words == [0.25]
    assert stand.pump.ended == stand.clock.now


async def test_the_phase_follows_the_source() -> None:
    source = Played()
    stand = Stand(source)
    phases = []
    for event in (STARTED, OPENED, Closed(0), Finished()):
        phases.append(stand.pump.phase)
        source.say(event)
        await settle()
    assert [*phases, stand.pump.phase] == [Phase.IDLE, Phase.WAITING, Phase.SPEAKING, Phase.SPEAKING, Phase.ENDED]


# -- how a source may fail ---------------------------------------------------------------------------------------------


async def test_a_source_that_gives_up_is_quoted() -> None:
    source = Played(STARTED, OPENED, Delta(0, "half"))
    source.fail(Broken("provider_overloaded", "come back later", retry_after=3))
    stand = Stand(source)
    await settle()
    assert stand.ended_well() == Failed(fault("provider_overloaded", "come back later", retry_after=3))
    assert stand.events[-2] == CUT
    assert stand.seen.raised == [], "that is no surprise to anybody"


async def test_a_stage_that_refuses_is_quoted_as_well() -> None:
    source = Played(STARTED)
    source.fail(Refused("content_refused"))
    stand = Stand(source)
    await settle()
    assert stand.ended_well() == Failed(fault("content_refused"))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("secret prompt"),
        GeneratorExit(),
        BaseExceptionGroup("several", [GeneratorExit(), ValueError("x")]),
        asyncio.InvalidStateError("x"),
        StopAsyncIteration(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_source_raises_becomes_a_typed_error_that_quotes_nothing(error: BaseException) -> None:
    source = Played(STARTED, OPENED)
    source.fail(error)
    stand = Stand(source)
    await settle()
    last = stand.ended_well()
    assert isinstance(last, Failed)
    assert last.error.code == "source_failed"
    assert "secret" not in last.error.message
    assert len(stand.seen.raised) == 1
    assert source.closed == 1


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_ends_the_process_passes_after_the_last_word(error: type[BaseException]) -> None:
    stands: list[Stand] = []

    async def play() -> None:
        source = Played(STARTED, OPENED)
        source.fail(error())
        stands.append(Stand(source))
        await settle()

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    playing = loop.create_task(play())
    with pytest.raises(error):
        loop.run_until_complete(playing)
    loop.run_until_complete(playing)
    loop.close()
    last = stands[0].ended_well()
    assert isinstance(last, Failed)
    assert last.error.code == "source_failed"


async def test_a_source_that_is_cancelled_by_something_of_its_own_has_failed() -> None:
    source = Played(STARTED, OPENED)
    source.fail(asyncio.CancelledError())
    stand = Stand(source)
    await settle()
    last = stand.ended_well()
    assert isinstance(last, Failed)
    assert last.error.code == "source_failed"


async def test_a_source_that_cannot_even_be_called_has_failed() -> None:
    def refuses(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        raise TypeError("not like this")

    stand = Stand(refuses)
    await settle()
    last = stand.ended_well()
    assert isinstance(last, Failed)
    assert last.error.code == "source_failed"


async def test_a_source_that_just_stops_is_a_truncated_answer_never_a_finished_one() -> None:
    source = Played(STARTED, OPENED, Delta(0, "half"))
    source.stop()
    stand = Stand(source)
    await settle()
    last = stand.ended_well()
    assert isinstance(last, Failed)
    assert last.error.code == "provider_truncated"


@pytest.mark.parametrize(
    "events",
    [
        [OPENED],
        [Finished()],
        [STARTED, STARTED],
        [STARTED, Delta(0, "x")],
        [STARTED, OPENED, OPENED],
        [STARTED, OPENED, Delta(1, "x")],
        [STARTED, OPENED, Chunk(0, b"x")],
        [STARTED, Opened(0, "binary"), Delta(0, "x")],
        [STARTED, OPENED, Closed(0), Delta(0, "x")],
        [STARTED, OPENED, Closed(0), Closed(0)],
        [STARTED, OPENED, Closed(0), OPENED],
        ["not an event"],
        [STARTED, None],
    ],
    ids=repr,
)
async def test_an_event_that_cannot_be_said_now_ends_the_run_and_is_not_in_the_log(events: list[Event]) -> None:
    async def says(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        for event in events:
            yield event
        await never()

    stand = Stand(says)
    await settle()
    last = stand.ended_well()
    assert isinstance(last, Failed)
    assert last.error.code == "source_illegal"
    legal = [event for event in stand.events[:-1] if event not in (Closed(0), CUT)]
    assert legal == [event for event in events[:-1] if event not in (Closed(0), CUT)]
    assert isinstance(stand.seen.raised[0], IllegalEvent)


async def test_words_that_no_transport_can_carry_fail_the_run_and_not_its_readers() -> None:
    source = Played(STARTED, OPENED, Delta(0, "fine"), Delta(0, "\ud800"))
    stand = Stand(source)
    reader = stand.log.attach(0)
    await settle()
    last = stand.ended_well()
    assert isinstance(last, Failed)
    assert last.error.code == "source_failed"
    assert [entry.event for entry in drained(reader)] == [STARTED, OPENED, Delta(0, "fine"), CUT, last]


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (Finished("\ud800"), "source_illegal"),
        (Broken("provider_error", "\ud800"), "provider_error"),
    ],
    ids=["finished", "broken"],
)
async def test_a_last_word_that_cannot_be_written_is_replaced_by_one_that_can(
    ending: Event | BaseException, code: str
) -> None:
    source = Played(STARTED, OPENED)
    if isinstance(ending, BaseException):
        source.fail(ending)
    else:
        source.say(ending)
    stand = Stand(source)
    await settle()
    last = stand.ended_well()
    assert isinstance(last, Failed)
    assert last.error.code == code


async def test_a_source_that_fails_while_it_closes_does_not_change_how_the_run_ended() -> None:
    async def trips() -> None:
        raise RuntimeError("in the clean-up")

    source = Played(*answer("x"), clean_up=trips)
    stand = Stand(source)
    await settle()
    assert stand.ended_well() == Finished()
    assert [str(error) for error in stand.seen.raised] == ["in the clean-up"]


async def test_what_a_source_says_after_its_last_word_is_not_heard() -> None:
    source = Played(*answer("x"), Note("too", "late"))
    stand = Stand(source)
    await settle()
    assert stand.events == answer("x")
    assert source.closed == 1


# -- the account of tokens ---------------------------------------------------------------------------------------------

TOLD = Usage(9, 4, "reported", cached=3)
ENDINGS: list[Finished | Failed | Cancelled] = [
    Finished("length"),
    Failed(fault("provider_error")),
    Cancelled("client"),
]


@pytest.mark.parametrize("ending", ENDINGS, ids=["finished", "failed", "cancelled"])
async def test_the_last_word_repeats_the_last_account(ending: Finished | Failed | Cancelled) -> None:
    stand = Stand(Played(STARTED, Usage(9, 0, "reported"), OPENED, Delta(0, "x"), Closed(0), TOLD, ending))
    await settle()
    assert stand.ended_well() == msgspec.structs.replace(ending, usage=TOLD)
    assert stand.events[-2] == TOLD


@pytest.mark.parametrize("ending", ENDINGS, ids=["finished", "failed", "cancelled"])
async def test_a_run_of_which_nothing_is_known_has_no_such_member(ending: Finished | Failed | Cancelled) -> None:
    stand = Stand(Played(STARTED, OPENED, Delta(0, "x"), Closed(0), ending))
    await settle()
    assert stand.ended_well() == ending
    assert "usage" not in msgspec.to_builtins(stand.ended_well())


async def test_an_account_that_stands_in_the_last_word_alone_is_one_like_any_other() -> None:
    stand = Stand(Played(*answer("x")[:-1], Finished(usage=TOLD)))
    await settle()
    assert stand.events[-2:] == [TOLD, Finished(usage=TOLD)]
    assert stand.pump.usage == TOLD


async def test_an_account_that_is_older_than_the_last_one_does_not_stand_in_the_last_word() -> None:
    stand = Stand(Played(*answer("x")[:-1], TOLD, Finished(usage=Usage(1, 1, "counted"))))
    await settle()
    assert stand.events[-2:] == [TOLD, Finished(usage=TOLD)]


async def test_an_account_that_cannot_be_written_does_not_take_the_last_word_with_it() -> None:
    stand = Stand(Played(STARTED, Usage(1, 1, "\ud800")))  # type: ignore[arg-type]
    await settle()
    last = stand.ended_well()
    assert isinstance(last, Failed)
    assert (last.error.code, last.usage) == ("source_failed", msgspec.UNSET)


async def test_what_is_learnt_after_the_end_does_not_change_the_log() -> None:
    stand = Stand(Played(STARTED, TOLD))
    await settle()
    stand.pump.finish(Cancelled("client"))
    before = stand.events
    stand.pump.settle(Usage(9, 12, "reported"))
    assert stand.events == before
    assert stand.ended_well() == Cancelled("client", TOLD)
    assert stand.pump.usage == Usage(9, 12, "drained")


# -- what others say ---------------------------------------------------------------------------------------------------


async def test_what_the_server_says_stands_between_two_events_of_the_source() -> None:
    source = Played(STARTED, OPENED, Delta(0, "a"))
    stand = Stand(source)
    await settle()
    stand.pump.note(Note("input", "hm"))
    source.say(Delta(0, "b"), Closed(0), Usage(1, 1, "reported"), Finished())
    await settle()
    assert stand.events[2:5] == [Delta(0, "a"), Note("input", "hm"), Delta(0, "b")]


async def test_every_open_part_is_closed_before_the_last_word() -> None:
    source = Played(STARTED, OPENED, Opened(1, "tool_call"), Opened(2, "reasoning"), Closed(1), Finished())
    stand = Stand(source)
    await settle()
    assert stand.events[-3:] == [Closed(0), Closed(2), Finished()]
    stand.ended_well()


async def test_whoever_waits_for_the_end_is_told_even_when_it_is_over() -> None:
    source = Played(STARTED)
    stand = Stand(source)
    early = stand.pump.ending()
    await settle()
    assert not early.done()
    stand.pump.finish(Failed(fault("interrupted")))
    await early
    await Stand(Played(Started("x", "m", 1), Finished())).pump.closed()
    ended = Stand(Played(STARTED, Finished()))
    await settle()
    await ended.pump.ending()


async def test_a_reader_whose_waking_ends_the_run_within_the_last_word_changes_nothing() -> None:
    source = Played(STARTED, OPENED)
    stand = Stand(source)
    await settle()
    reader = stand.log.attach(0)
    reader.on_ready = lambda: stand.pump.finish(Cancelled("disconnect"))
    stand.pump.finish(Failed(fault("gap_timeout")))
    assert stand.ended_well() == Failed(fault("gap_timeout"))
