"""The price table: what is shipped, what a file of one's own changes, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.config.models import PriceConfig
from penstock.config.prices import prices


def test_the_shipped_prices_are_sums_of_money() -> None:
    known = prices(None)
    assert len(known) >= 10
    for name, price in known.items():
        assert "/" in name
        assert 0 < price.input < price.output
        assert price.cached is not None
        assert 0 < price.cached < price.input
        assert price.cache_written is None or price.input < price.cache_written < price.output


def test_a_file_of_ones_own_stands_above_them(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('["openai/gpt-4.1-mini"]\ninput = 1\noutput = 2\n["local/mine"]\ninput = 0\noutput = 0\n')
    known = prices(file)
    assert known["openai/gpt-4.1-mini"] == PriceConfig(input=1.0, output=2.0)
    assert known["local/mine"] == PriceConfig(input=0.0, output=0.0)
    assert set(prices(None)) < set(known)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[x", "own.toml: Expected"),
        ("[x]\ninput = 1\n", "own.toml: x: Object missing required field `output`"),
        ("x = 1\n", "own.toml: x: Expected `object`"),
        ("[x]\ninput = -1\noutput = 1\n", "`float` >= 0"),
        ("[x]\ninput = 1\noutput = 1\ncurrency = 'EUR'\n", "unknown field `currency`"),
    ],
)
def test_what_is_no_price_table_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match="file") as wrong:
        prices(file)
    assert said in str(wrong.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        prices(tmp_path / "missing.toml")
