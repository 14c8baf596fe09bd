"""The strategy `auto`: targets by what is asked, by rules of the configuration or, without any, by price; and by how they do.

What a client hints comes first, then the rules in their order. Pure but for the health it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from penstock.core.asked import Asked
from penstock.core.rules import Rule
from penstock.core.target import House, Target

SHORT = 1000
"""Tokens; what is longer is no simple question, where no rule says otherwise."""
SLOW = 2.0
"""A target that takes so many times as long as the fastest of its group goes behind the others …"""
LATER = 0.25
"""… if that is so many seconds at least."""
UNKNOWN = 2.0
"""Seconds to a hundred tokens that one is thought to take whom nobody has measured."""


class Auto(msgspec.Struct, frozen=True, kw_only=True):
    """How one model is routed."""

    rules: tuple[Rule, ...] = ()
    hints: bool = True
    """Clients may say what they want."""


class Choice(NamedTuple):
    """The targets in the order they are asked, and why so."""

    targets: list[Target]
    why: str
    rule: int | None = None
    """The number of the rule, from 1."""


Picked = Callable[[Sequence[Target], House], list[Target]]


def choose(auto: Auto, asked: Asked, able: Sequence[Target], house: House) -> Choice:
    """Which targets are asked, of those that can. A hint that names a target is followed where that one can be asked, another
    where a rule names it and holds, or where no rule names it; then it has its usual meaning."""
    if hint := asked.hint if auto.hints else "":
        if any(target.name == hint for target in able):
            return Choice(_first([hint], able, house), f"hint {hint}")
        named = [(number, rule) for number, rule in enumerate(auto.rules, 1) if rule.when.hint == hint]
        for number, rule in named:
            if rule.when.holds(asked):
                return _ruled(number, rule, able, house)
        if not named and hint in _MEANT:
            return Choice(_MEANT[hint](able, house), f"hint {hint}")
    for number, rule in enumerate(auto.rules, 1):
        if rule.when.hint is None and rule.when.holds(asked):
            return _ruled(number, rule, able, house)
    if auto.rules:
        return Choice(_by_health(able, house), "no rule holds")
    return _by_default(asked, able, house)


def _ruled(number: int, rule: Rule, able: Sequence[Target], house: House) -> Choice:
    why = f"rule {number}: {rule.why or rule.when}"
    return Choice(_first(rule.use, able, house), why, number)


def _first(names: Sequence[str], able: Sequence[Target], house: House) -> list[Target]:
    """These of the targets first, as they do, and behind them the others, as they do."""
    known = {target.name: target for target in able}
    group = [known[name] for name in names if name in known]
    return _by_health(group, house) + _by_health([target for target in able if target not in group], house)


def _by_health(group: Sequence[Target], house: House) -> list[Target]:
    """The slow ones behind the others. One that nobody has measured for a while is none of them: it is tried."""
    if len(group) < 2:
        return list(group)
    usual = [house.health[target.name].usual for target in group]
    known = [seconds for seconds in usual if seconds is not None]
    least = min(known if len(known) == len(usual) else [*known, UNKNOWN])
    limit = max(SLOW * least, least + LATER)
    if not known or max(known) < limit:
        return list(group)
    now = house.clock()

    def slow(target: Target) -> bool:
        seconds = house.health[target.name].usual
        if seconds is None or house.health[target.name].due(now):
            return False
        return seconds > SLOW * least and seconds - least >= LATER

    return sorted(group, key=slow)


# -- without rules -----------------------------------------------------------------------------------------------------


def _by_default(asked: Asked, able: Sequence[Target], house: House) -> Choice:
    """What is hard goes to the dearest target, or the first where there are no prices; the rest to the cheapest."""
    if asked.reasoning:
        hard = "reasoning"
    elif asked.tokens > SHORT:
        hard = f"longer than {SHORT} tokens"
    elif asked.code:
        hard = "code"
    else:
        return Choice(_cheap(able, house), "short and simple: the cheapest")
    return Choice(_best(able, house), f"{hard}: the best")


def _cheap(able: Sequence[Target], house: House) -> list[Target]:
    return _priced(able, house, dear=False)


def _best(able: Sequence[Target], house: House) -> list[Target]:
    """The dearest; where nobody said a price, the first of the configuration."""
    if not any(target.price for target in able):
        return list(able)
    return _priced(able, house, dear=True)


def _priced(able: Sequence[Target], house: House, *, dear: bool) -> list[Target]:
    """By price; those of one price as they do, and those without any last."""
    groups: dict[float, list[Target]] = {}
    for target in able:
        groups.setdefault(cost(target), []).append(target)
    prices = sorted((price for price in groups if price != float("inf")), reverse=dear)
    return [target for price in [*prices, float("inf")] for target in _by_health(groups.get(price, []), house)]


def cost(target: Target) -> float:
    """What a question and an answer three times as long cost; without a price, more than anything."""
    return target.price.input + 3 * target.price.output if target.price else float("inf")


def _fast(able: Sequence[Target], house: House) -> list[Target]:
    now = house.clock()
    return sorted(able, key=lambda target: house.health[target.name].expected(now))


_MEANT: dict[str, Picked] = {"fast": _fast, "cheap": _cheap, "best": _best, "local": _by_health}
