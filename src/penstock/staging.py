"""What stands before the targets of a model: its house, and its stages in their order."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from penstock.config.models import ModelConfig, PriceConfig, RetryConfig, TargetConfig
from penstock.config.rules import FEATURES, RuleConfig
from penstock.config.units import Seconds
from penstock.core.health import Health
from penstock.core.rules import Rule
from penstock.core.source import Source, Stage, compose
from penstock.core.target import House, Price, Target, switch
from penstock.stages import continuation, fallback, hedge, queue, retry, routing, usage
from penstock.stages.auto import Auto
from penstock.stages.sticky import Sticky

NEVER = RetryConfig(attempts=1)
BRIEFLY = RetryConfig(attempts=2, patience=Seconds(1))
"""Where another target may answer, or whoever asked is to learn soon that none can."""


class Behind(NamedTuple):
    """A target as the catalog made it."""

    configured: str
    source: Source
    provider: str
    stated: TargetConfig
    features: Mapping[str, bool]
    metered: bool
    """Its tokens are somebody's bill."""
    local: bool = False
    """Its address is one of this machine or of this network."""


class Staged(NamedTuple):
    """A model with its stages."""

    source: Source
    router: routing.Router | None = None
    """Who chooses among its targets; nobody where there is but one."""


MOST_HEALTH = 1000
"""Targets that are remembered without an alias that names them: clients may invent their names."""


class Staging:
    """Makes the source of every model. What is known of a target's health is shared by all models that name it."""

    def __init__(
        self,
        prices: Mapping[str, PriceConfig],
        *,
        after: Staging | None = None,
        clock: Callable[[], float] = time.monotonic,
        draw: random.Random | None = None,
    ):
        """`after` is that of an earlier configuration: what it knows of the same targets and conversations is known here."""
        self.health: dict[str, Health] = {}
        """By the words of the configuration, which may be addresses."""
        self.known: dict[str, Health] = {}
        """The same by the names clients may know; of two by one name the first."""
        self._doors: dict[str, queue.Turnstile] = {}
        self._sizes: dict[str, TargetConfig] = {}
        """How large each of the doors is to be."""
        self._sticky: dict[str, Sticky] = {}
        self._after = after
        self._prices = prices
        self._clock = clock
        self._random = draw or random.Random()  # noqa: S311 - for jitter and weights, not for secrets

    def model(self, name: str, model: ModelConfig | None, behind: Mapping[str, Behind]) -> Staged:
        """A model: its stages around its targets, which are given by the names clients may know. Raises `ValueError` for a rule
        that names a target which cannot do what it is about."""
        several = len(behind) > 1
        limited = any(it.stated.concurrent for it in behind.values())
        house = self.house(name, behind, named=model is not None)
        billed = any(it.metered for it in behind.values()) or any(it.price for it in house.targets.values())
        stages: list[Stage] = [usage.build(house)] if billed else []
        given = model.rule if model is not None else ()
        rules = tuple(_rule(f"models.{name}.rule[{n}]", rule, behind) for n, rule in enumerate(given))
        if model is None or not (several or limited or model.retry is not None):
            return Staged(compose(next(iter(behind.values())).source, stages))
        router = None
        if several:
            auto = Auto(rules=rules, hints=model.hints)
            router = routing.Router(house, model.strategy, auto=auto, sticky=self._conversations(name, model))
            stages += [routing.build(router), continuation.build(house)]
            if model.hedge:
                stages.append(hedge.build(house))
            stages.append(fallback.build(house))
        stages += [
            retry.build(house, _retrying(model.retry or (BRIEFLY if several else NEVER))),
            queue.build(house, self._turnstiles(behind)),
        ]
        for target, health in house.health.items():
            self.known.setdefault(target, health)
        return Staged(compose(switch(house), stages), router)

    def _turnstiles(self, behind: Mapping[str, Behind]) -> dict[str, queue.Turnstile]:
        """One for each target that takes only so many; models that share a target share it."""
        doors: dict[str, queue.Turnstile] = {}
        for target, it in behind.items():
            if (places := it.stated.concurrent) is not None:
                door = self._doors.get(it.configured) or (self._after and self._after._doors.get(it.configured))
                doors[target] = self._doors[it.configured] = door or queue.Turnstile(places, line=it.stated.queue)
                self._sizes[it.configured] = it.stated
        return doors

    def _conversations(self, name: str, model: ModelConfig) -> Sticky | None:
        if not model.sticky:
            return None
        earlier = self._after._sticky.get(name) if self._after is not None else None
        self._sticky[name] = Sticky() if earlier is None else earlier
        return self._sticky[name]

    def settle(self) -> None:
        """Take the place of the earlier one for good: what is shared with it goes by this configuration from now on."""
        self._after = None
        for configured, stated in self._sizes.items():
            if stated.concurrent is not None:
                self._doors[configured].resize(stated.concurrent, line=stated.queue)

    def _health(self, configured: str, *, named: bool) -> Health:
        health = self.health.get(configured)
        if health is None:
            health = (self._after and self._after.health.get(configured)) or Health()
            if named or len(self.health) < MOST_HEALTH:
                self.health[configured] = health
        return health

    def house(self, name: str, behind: Mapping[str, Behind], *, named: bool = True) -> House:
        """The house of a model with these targets; `named` where it is the operator who named them."""
        return House(
            model=name,
            targets={target: _target(target, it, self._prices.get(target)) for target, it in behind.items()},
            health={target: self._health(it.configured, named=named) for target, it in behind.items()},
            clock=self._clock,
            random=self._random,
        )


def _target(name: str, it: Behind, listed: PriceConfig | None) -> Target:
    stated, price = it.stated, it.stated.price or listed
    return Target(
        name=name,
        source=it.source,
        provider=it.provider,
        lacks=frozenset(feature for feature, has in it.features.items() if not has),
        context=stated.context,
        weight=stated.weight,
        concurrent=stated.concurrent,
        price=_price(price) if price else None,
        continues=stated.continues,
        local=it.local if stated.local is None else stated.local,
    )


def _price(stated: PriceConfig) -> Price:
    return Price(input=stated.input, output=stated.output, cached=stated.cached, cache_written=stated.cache_written)


def _rule(key: str, rule: RuleConfig, behind: Mapping[str, Behind]) -> Rule:
    """A rule with its targets by the names clients may know. Raises `ValueError` where one is known not to do what it is about."""
    told = {it.configured: name for name, it in behind.items()}
    use = tuple(told[name] for name in rule.use)
    for name in use:
        for feature in FEATURES:
            if getattr(rule.when, feature) and behind[name].features.get(feature) is False:
                raise ValueError(f"{key}: {name!r} has no {feature}, which this rule is about; name another target")
    return Rule(when=rule.when, use=use, why=rule.why)


def _retrying(given: RetryConfig) -> retry.Retrying:
    return retry.Retrying(
        attempts=given.attempts,
        base=float(given.base),
        longest=float(given.longest),
        patience=float(given.patience),
        budget=given.budget,
    )
