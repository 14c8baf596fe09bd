"""How fast models are said to be: from the last answers, of names of the configuration alone, and never from guesses."""

import pytest

from penstock.core.errors import fault
from penstock.core.events import Cancelled, Failed, Finished, Terminal, Usage
from penstock.core.measure import Speed
from penstock.core.observer import Origin
from penstock.core.request import ChatRequest, Principal
from penstock.telemetry.pace import REMEMBERED, Pace


def answer(
    pace: Pace,
    *,
    first: float = 1.0,
    seconds: float = 3.0,
    tokens: int = 21,
    model: str = "known",
    end: Terminal = Finished(),  # noqa: B008 - a frozen value
    paused: float = 0.0,
) -> None:
    """One whole answer, as an observer is told of it."""
    pace.run_started("st_1", ChatRequest(model=model, messages=()), Principal(), Origin())
    pace.first_word("st_1", first)
    if paused:
        pace.source_paused("st_1", paused)
    pace.tokens_counted("st_1", Usage(1, 1, "reported"))
    pace.tokens_counted("st_1", Usage(9, tokens, "reported"))
    pace.run_ended("st_1", end, seconds, 9)


def test_a_model_that_has_answered_nothing_has_no_speed() -> None:
    assert Pace(["known"]).of("known") is None


def test_the_first_token_counts_from_the_beginning_and_the_others_from_the_first() -> None:
    pace = Pace(["known"])
    answer(pace)
    assert pace.of("known") == Speed(answers=1, time_to_first_token=1.0, tokens_per_second=10.0)


def test_what_readers_held_back_is_not_the_models_time() -> None:
    pace = Pace(["known"])
    answer(pace, seconds=7.0, paused=4.0)
    assert pace.of("known") == Speed(answers=1, time_to_first_token=1.0, tokens_per_second=10.0)


@pytest.mark.parametrize("end", [Cancelled("client"), Failed(fault("provider_truncated"))])
def test_an_answer_that_was_cut_tells_of_its_first_token_alone(end: Terminal) -> None:
    pace = Pace(["known"])
    answer(pace, end=end)
    assert pace.of("known") == Speed(answers=1, time_to_first_token=1.0, tokens_per_second=None)


def test_one_slow_answer_does_not_make_a_slow_model() -> None:
    pace = Pace(["known"])
    for first in (1.0, 1.0, 60.0):
        answer(pace, first=first, seconds=first + 2)
    speed = pace.of("known")
    assert speed is not None
    assert speed.time_to_first_token == 1.0


def test_only_the_last_answers_are_remembered() -> None:
    pace = Pace(["known"])
    for _ in range(REMEMBERED):
        answer(pace, first=9.0, seconds=11.0)
    for _ in range(REMEMBERED):
        answer(pace)
    assert pace.of("known") == Speed(answers=REMEMBERED, time_to_first_token=1.0, tokens_per_second=10.0)


def test_names_that_clients_made_up_leave_nothing_behind() -> None:
    pace = Pace(["known"])
    for number in range(100):
        answer(pace, model=f"openai/{number}")
    assert (set(pace.models), pace.of("known"), pace._live) == ({"known"}, None, {})


def test_a_model_that_the_configuration_no_longer_names_is_forgotten() -> None:
    pace = Pace(["known", "other"])
    answer(pace)
    answer(pace, model="other")
    pace.run_started("st_2", ChatRequest(model="other", messages=()), Principal(), Origin())
    pace.first_word("st_2", 1.0)
    pace.follow(["known", "new"])
    pace.run_ended("st_2", Finished(), 2.0, 3)
    assert (pace.of("other"), pace.of("known") is None) == (None, False)
