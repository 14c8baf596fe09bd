"""Times, sizes, secrets and what happens on disconnect, as people write them."""

import pytest

from penstock.config.units import Bytes, OnDisconnect, Seconds, Secret


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (0, 0.0),
        (90, 90.0),
        (0.5, 0.5),
        ("250ms", 0.25),
        ("90s", 90.0),
        ("90 s", 90.0),
        ("5m", 300.0),
        ("5min", 300.0),
        ("1.5h", 5400.0),
        ("7", 7.0),
    ],
)
def test_a_time_is_a_number_of_seconds_or_has_a_unit(written: object, seconds: float) -> None:
    assert Seconds.read(written) == seconds


@pytest.mark.parametrize("written", ["", "5x", "5 m s", "-1s", -1, True, None, [], float("nan"), float("inf"), "1e3s"])
def test_what_is_no_time_is_refused_with_the_way_to_write_one(written: object) -> None:
    with pytest.raises(ValueError, match="is no time; write seconds"):
        Seconds.read(written)


@pytest.mark.parametrize(
    ("written", "size"),
    [(0, 0), (65536, 65536), ("64KiB", 65536), ("8 MiB", 8388608), ("1GB", 10**9), ("12", 12), ("3B", 3)],
)
def test_a_size_is_a_number_of_bytes_or_has_a_unit(written: object, size: int) -> None:
    assert Bytes.read(written) == size


@pytest.mark.parametrize("written", ["", "8mb", "1.5MiB", -1, 1.5, True, None, "lots"])
def test_what_is_no_size_is_refused_with_the_way_to_write_one(written: object) -> None:
    with pytest.raises(ValueError, match="is no size; write bytes"):
        Bytes.read(written)


@pytest.mark.parametrize("text", ["0.25s", "1s", "90s", "5m", "1h", "0s"])
def test_a_time_is_shown_as_it_would_be_written(text: str) -> None:
    assert str(Seconds.read(text)) == text


@pytest.mark.parametrize("text", ["1", "64KiB", "8MiB", "3GiB"])
def test_a_size_is_shown_as_it_would_be_written(text: str) -> None:
    assert str(Bytes.read(text)) == text


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("cancel", OnDisconnect("cancel")),
        ("finish", OnDisconnect("finish")),
        ("grace", OnDisconnect("grace", 60)),
        ("grace:90s", OnDisconnect("grace", 90)),
        ({"grace": "2m"}, OnDisconnect("grace", 120)),
    ],
)
def test_on_disconnect_is_one_word_or_a_grace(written: object, meant: OnDisconnect) -> None:
    assert OnDisconnect.read(written) == meant


@pytest.mark.parametrize("written", ["", "stop", "grace:", "cancel:5s", {"grace": "5s", "more": 1}, {}, 5, None])
def test_any_other_on_disconnect_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match=r"is no (choice|time)"):
        OnDisconnect.read(written)


def test_a_secret_is_in_no_text_made_of_it() -> None:
    secret = Secret("sk-canary")
    assert [text for text in (str(secret), repr(secret), f"{secret}", f"{[secret]}") if "canary" in text] == []
    assert secret.reveal() == "sk-canary"
