"""`[[models.NAME.rule]]`: which requests go to which targets, with the strategy `auto`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from penstock.config.errors import Wrong, nearest
from penstock.config.locate import Key
from penstock.config.target import known_as, read_target, told
from penstock.core.language import LANGUAGES
from penstock.core.rules import Length, When

if TYPE_CHECKING:
    from penstock.config.model import Config
    from penstock.config.models import ModelConfig, TargetConfig

FEATURES = ("tools", "images", "audio", "structured")


class RuleConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule of the strategy `auto`. The first whose conditions hold decides; where none does, the order of the targets."""

    use: Annotated[
        tuple[str, ...],
        Meta(
            description="Which of `targets` answer, the preferred one first; the others are asked where these fail. A target may be "
            "named as clients know it, as in `small` for `http://127.0.0.1:8081/v1#small`."
        ),
    ]
    when: Annotated[When, Meta(description="What must hold, all of it; without it the rule always holds.")] = When()
    why: Annotated[str, Meta(description="What is said of a decision by this rule, instead of its conditions.")] = ""


def read_rules(name: str, model: ModelConfig, config: Config) -> tuple[RuleConfig, ...]:
    """The rules of a model, their targets as `targets` has them. Each can hold, comes to its turn, and names targets that can do
    what it is about. Raises `Wrong`."""
    if model.rule and model.strategy != "auto":
        raise Wrong(("models", name, "rule"), f'rules are read with strategy = "auto"; this is {model.strategy!r}')
    short = _short(model, config)
    rules: list[RuleConfig] = []
    for number, given in enumerate(model.rule):
        key: Key = ("models", name, "rule", number)
        rule = msgspec.structs.replace(given, use=_used((*key, "use"), given, model, short))
        _check_when((*key, "when"), rule.when)
        for place, target in enumerate(rule.use):
            if (stated := config.targets.get(target)) is not None:
                _check_able((*key, "use", place), target, stated, rule.when)
        for earlier, other in enumerate(rules, 1):
            if (other.when.hint is None) is (rule.when.hint is None) and other.when.covers(rule.when):
                raise Wrong(key, f"this rule is never reached: rule {earlier} ({other.when}) holds wherever it would")
        rules.append(rule)
    return tuple(rules)


def _short(model: ModelConfig, config: Config) -> dict[str, str]:
    """What clients call a target → what `targets` calls it, where that is clear."""
    own = {target: read_target(target, config.providers) for target in model.targets if target not in config.models}
    if len(own) == len(model.targets):
        return told(own)
    # Which of two by one name has the number depends on what the other aliases lead to.
    names = [known_as(target, means) for target, means in own.items()]
    return {name: target for target, name in zip(own, names, strict=True) if names.count(name) == 1}


def _used(key: Key, rule: RuleConfig, model: ModelConfig, short: Mapping[str, str]) -> tuple[str, ...]:
    if not rule.use:
        raise Wrong(key, "a rule names at least one target")
    used: list[str] = []
    for place, name in enumerate(rule.use):
        target = name if name in model.targets else short.get(name)
        if target is None:
            known = [*short, *(each for each in model.targets if each not in short.values())]
            raise Wrong((*key, place), f"this model has no target {name!r}{nearest(name, known)}")
        if target in used:
            raise Wrong((*key, place), f"{name!r} is named twice")
        used.append(target)
    return tuple(used)


def _check_when(key: Key, when: When) -> None:
    for language in when.languages:
        if language not in LANGUAGES:
            raise Wrong((*key, "language"), f"no language is told by {language!r}; there is {', '.join(LANGUAGES)}")
    low, high = when.longer_than, when.shorter_than
    if low is not None and high is not None and low.unit == high.unit and low.count >= high.count:
        raise Wrong(key, f"nothing is longer than {low} and shorter than {high}")
    if when.needs_context is not None and when.needs_context.unit != "tokens":
        raise Wrong((*key, "needs_context"), 'a window is counted in tokens, as in "8000 tokens"')


def _check_able(key: Key, name: str, target: TargetConfig, when: When) -> None:
    """As far as the configuration says what a target can."""
    for feature in FEATURES:
        if getattr(when, feature) and getattr(target.features, feature) is False:
            raise Wrong(key, f"{name!r} has no {feature}, which this rule is about; name another target")
    for least in (when.needs_context, when.longer_than):
        if _more(least, target.context):
            raise Wrong(
                key, f"{name!r} has a window of {target.context} tokens, and this rule is for more than {least}"
            )


def _more(least: Length | None, context: int | None) -> bool:
    return least is not None and least.unit == "tokens" and context is not None and least.count >= context
