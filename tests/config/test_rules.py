"""`[[models.NAME.rule]]`: what is read, and what is wrong with a rule that cannot do what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.config.errors import ConfigError
from penstock.config.load import load
from penstock.config.model import Config
from penstock.core.rules import Length, When

MODEL = """
[models.m]
targets = ["http://127.0.0.1:1/v1#small", "http://127.0.0.1:1/v1#large", "demo"]
strategy = "auto"

[targets."http://127.0.0.1:1/v1#small"]
context = 8000
features = { images = false }
"""
LARGE = "http://127.0.0.1:1/v1#large"


def read(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "penstock.toml"
    file.write_text(text)
    return load({}, file=file)


def test_a_rule_names_targets_as_written_or_as_clients_know_them(tmp_path: Path) -> None:
    rule = f"""
    [[models.m.rule]]
    when = {{ language = "de", longer_than = "20 words", needs_context = 4000 }}
    use = ["large", "demo"]
    why = "in German"

    [[models.m.rule]]
    use = ["{LARGE}"]
    """
    first, second = read(tmp_path, MODEL + rule).models["m"].rule
    assert first.use == (LARGE, "demo")
    assert first.when == When(language="de", longer_than=Length(20, "words"), needs_context=Length(4000))
    assert (first.why, second.when, second.use) == ("in German", When(), (LARGE,))


def test_of_two_targets_by_one_name_a_rule_names_the_second_by_its_number(tmp_path: Path) -> None:
    near, far = "http://127.0.0.1:1/v1#small", "http://127.0.0.1:2/v1#small"
    model = (
        f'[models.m]\ntargets = ["{near}", "{far}"]\nstrategy = "auto"\n[[models.m.rule]]\nuse = ["small-2", "small"]'
    )
    assert read(tmp_path, model).models["m"].rule[0].use == (far, near)
    aliases = (
        f'[models.m]\ntargets = ["n", "{near}", "{far}"]\nstrategy = "auto"\n[[models.m.rule]]\nuse = ["small-2"]\n'
    )
    with pytest.raises(ConfigError, match="this model has no target 'small-2'"):
        read(tmp_path, f'{aliases}[models.n]\ntargets = ["http://127.0.0.1:3/v1#small"]')


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('use = ["lage"]', "models.m.rule[0].use[0]: this model has no target 'lage'; did you mean 'large'?"),
        ('use = ["demo", "demo"]', "models.m.rule[0].use[1]: 'demo' is named twice"),
        ("use = []", "models.m.rule[0].use: a rule names at least one target"),
        ("when = { code = true }", "models.m.rule[0]: this needs a 'use'"),
        ('use = ["demo"]\nwhen = { coda = true }',
         "models.m.rule[0].when.coda: there is no setting of this name; did you mean 'code'?"),
        ('use = ["demo"]\nif = { code = true }', "models.m.rule[0].if: there is no setting of this name"),
        ('use = ["demo"]\nwhen = { hint = "chep" }', "models.m.rule[0].when.hint: 'chep' is no choice here; did you mean 'cheap'?"),
        ('use = ["demo"]\nwhen = { language = "ge" }', "models.m.rule[0].when.language: no language is told by 'ge'; there is en, de, "),
        ('use = ["demo"]\nwhen = { longer_than = "8 pages" }', 'is no length; write it like "8000 tokens" or "200 words"'),
        ('use = ["demo"]\nwhen = { longer_than = 900, shorter_than = 900 }',
         "models.m.rule[0].when: nothing is longer than 900 tokens and shorter than 900 tokens"),
        ('use = ["demo"]\nwhen = { needs_context = "900 words" }', 'a window is counted in tokens, as in "8000 tokens"'),
        ('use = ["large", "small"]\nwhen = { images = true }',
         "models.m.rule[0].use[1]: 'http://127.0.0.1:1/v1#small' has no images, which this rule is about; name another target"),
        ('use = ["small"]\nwhen = { needs_context = "10k tokens" }',
         "has a window of 8000 tokens, and this rule is for more than 10000 tokens"),
        ('use = ["demo"]\n[[models.m.rule]]\nwhen = { code = true }\nuse = ["large"]',
         "models.m.rule[1]: this rule is never reached: rule 1 (everything) holds wherever it would"),
        ('when = { code = true }\nuse = ["demo"]\n[[models.m.rule]]\nwhen = { code = true, tools = true }\nuse = ["large"]',
         "models.m.rule[1]: this rule is never reached: rule 1 (code) holds wherever it would"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_is_refused_with_its_place(tmp_path: Path, rule: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, f"{MODEL}\n[[models.m.rule]]\n{rule}\n")
    assert said in str(refused.value)
    assert "penstock.toml:" in str(refused.value)


def test_a_rule_for_a_hint_is_reached_whatever_rules_without_one_stand_before_it(tmp_path: Path) -> None:
    rules = '[[models.m.rule]]\nuse = ["demo"]\n[[models.m.rule]]\nwhen = { hint = "best" }\nuse = ["large"]\n'
    assert len(read(tmp_path, MODEL + rules).models["m"].rule) == 2


def test_rules_without_the_strategy_that_reads_them_are_refused(tmp_path: Path) -> None:
    text = MODEL.replace('strategy = "auto"', 'strategy = "order"') + '[[models.m.rule]]\nuse = ["demo"]\n'
    with pytest.raises(ConfigError, match="rules are read with strategy = \"auto\"; this is 'order'"):
        read(tmp_path, text)
