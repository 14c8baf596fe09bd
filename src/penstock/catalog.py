"""Models by name: what each leads to, and one source behind it, made when it is first asked for."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, assert_never

import msgspec

from penstock import registry
from penstock.auth.grant import ANYBODY, Grant
from penstock.config.model import Config, DemoConfig
from penstock.config.models import Features, ModelConfig, TargetConfig
from penstock.config.prices import prices
from penstock.config.target import (
    AtProvider,
    AtUrl,
    Demo,
    Function,
    OnCassette,
    Target,
    ThroughLitellm,
    is_near,
    read_target,
    told,
)
from penstock.core.errors import Refused
from penstock.core.health import Health
from penstock.core.source import Source, callers
from penstock.server.service import Model
from penstock.sources.upstream import Unreachable
from penstock.stages.routing import Router
from penstock.staging import Behind, Staging

MOST_MODELS = 1000
"""Sources that are kept for the next request; names beyond are made anew each time, since clients may invent them."""


LONGEST_NAME = 256


class Catalog:
    """Models by name: aliases of the configuration, names of providers, and one source behind each, made when it is first asked for."""

    def __init__(self, settings: Config, sources: Mapping[str, Source], *, after: Staging | None = None):
        """`after` is the `staging` of the configuration before this one."""
        self._settings = settings
        self._models = {
            name: Model(name=name, source=source, callers=callers([source])) for name, source in sources.items()
        }
        self._own = bool(sources)
        self._default = next(iter(sources), settings.default_model)
        self._named = [*sources, *settings.models, *([] if sources else ["demo"])]
        self._providers: dict[str, Any] = {}
        self.staging = Staging(prices(settings.prices.file), after=after)
        self._routers: dict[str, Router] = {}
        self._sources: list[Source] = list(sources.values())
        """Every source that the operator named, whatever stands before it. What clients may name holds nothing of its own."""
        self.cold: dict[str, Source] = {}
        """The targets that are to be asked once before anybody else does, by the names clients may know."""

    def model(self, name: str, grant: Grant = ANYBODY) -> Model:
        """The model of a name; the default for the empty one. Raises `Refused(unknown_model)`, also where it is not granted."""
        name = name or self._default
        if not grant.may_ask(name):
            raise self._unknown(name, grant)
        if (known := self._models.get(name)) is None:
            known = self._made(name, self.targets(name, grant))
            if len(self._models) < MOST_MODELS:
                self._models[name] = known
        return known

    def router(self, name: str) -> Router | None:
        """Who chooses among the targets of a model; nobody where it has but one. Raises `Refused(unknown_model)`."""
        return self._routers.get(self.model(name).name)

    @property
    def health(self) -> Mapping[str, Health]:
        """How the targets do that stages look after, by the names clients may know. It grows with the models that are asked for."""
        return self.staging.known

    @property
    def named(self) -> frozenset[str]:
        """Every name that stands in the configuration: what may be a label, where clients must not invent any."""
        routes = (route.model for route in self._settings.route)
        return frozenset(filter(None, (*self._named, self._default, self._settings.server.model, *routes)))

    def listed(self) -> list[Model]:
        """What can be named without knowing more than this server: the sources given in code, the aliases, `demo`, and the default."""
        return [self.model(name) for name in dict.fromkeys((*self._named, self._default))]

    def targets(self, name: str, grant: Grant = ANYBODY) -> dict[str, Target]:
        """What a model name leads to in the end, by the words of the configuration. Raises `Refused(unknown_model)`, whose hint
        names only what is granted."""
        unknown = self._unknown(name, grant)
        try:
            found = {end: read_target(end, self._settings.providers) for end in self._ends(name)}
        except ValueError:
            raise unknown from None
        if len(name) > LONGEST_NAME or not name.isprintable():
            raise unknown
        if name not in self._settings.models and (
            self._own or not all(isinstance(target, Demo | AtProvider | ThroughLitellm) for target in found.values())
        ):
            # Only the operator may name addresses and code; and an app of its own serves its own models alone.
            raise unknown
        return found

    def _ends(self, name: str) -> tuple[str, ...]:
        """What an alias leads to in the end, each target once; any other name leads to itself."""
        if (alias := self._settings.models.get(name)) is None:
            return (name,)
        return self._of(name, alias.targets)

    def _of(self, name: str, targets: Iterable[str]) -> tuple[str, ...]:
        """What these targets of an alias lead to in the end; one of its own name is no alias."""
        ends = (end for target in targets for end in ([target] if target == name else self._ends(target)))
        return tuple(dict.fromkeys(ends))

    def _made(self, name: str, targets: dict[str, Target]) -> Model:
        """A model, with its stages before its targets."""
        alias = self._settings.models.get(name)
        behind: dict[str, Behind] = {}
        for own, end in told(targets).items():
            target = targets[end]
            stated = self._settings.targets.get(end, TargetConfig())
            known = {**self._known(target), **_stated(stated.features)}
            source = self._source(target, own)
            near = self._near(target)
            if stated.warm and alias is not None:
                self.cold.setdefault(own, source)
            behind[own] = Behind(end, source, _provider_of(target), stated, known, _metered(target), near)
        # What all of them can do the model can, what none of them can it cannot.
        common = {}
        for feature in Features.__struct_fields__:
            said = {it.features.get(feature) for it in behind.values()}
            if len(said) == 1 and (has := said.pop()) is not None:
                common[feature] = has
        if alias is not None:
            promised = _stated(alias.features)
            for own, it in behind.items():
                if lacks := [feature for feature, has in promised.items() if has and it.features.get(feature) is False]:
                    raise ValueError(f"models.{name}: {own!r} has no {lacks[0]}, and features says that this model has")
            common.update(promised)
        (first, *_) = targets.values()
        if alias is not None:
            rules = (msgspec.structs.replace(rule, use=self._of(name, rule.use)) for rule in alias.rule)
            alias = msgspec.structs.replace(alias, rule=tuple(rules))
        staged = self.staging.model(name, alias, behind)
        if staged.router is not None:
            self._routers[name] = staged.router
        return Model(
            name=name,
            source=staged.source,
            owner=_provider_of(first),
            callers=callers(it.source for it in behind.values()),
            targets=tuple(behind),
            concurrent=(alias.concurrent if alias is not None else None) or 0,
            limits=_limits(alias) if alias is not None else {},
            features=common,
            hints=staged.router.hints if staged.router is not None else (),
            context=(alias.context if alias is not None else None)
            or _least(it.stated.context for it in behind.values()),
        )

    def _unknown(self, name: str, grant: Grant) -> Refused:
        """The same words for a model that is not and for one that is not granted."""
        if len(name) > LONGEST_NAME or not name.isprintable():
            # It goes into a response header and into logs.
            return Refused(
                "unknown_model", f"a model's name has at most {LONGEST_NAME} characters, all printable", param="model"
            )
        near = difflib.get_close_matches(name, [each for each in self._named if grant.may_ask(each)], 1)
        hint = f"did you mean {near[0]!r}?" if near else "GET /v1/models lists them"
        return Refused("unknown_model", f"no model is called {name[:128]!r}; {hint}", param="model")

    def _known(self, target: Target) -> dict[str, bool]:
        """What is known of a target without the configuration: of the demo, and from what a provider's protocol cannot say."""
        if isinstance(target, Demo):
            return {**dict.fromkeys(Features.__struct_fields__, False), "reasoning": self._settings.demo.reasoning}
        return dict(self._provider(target.provider).features) if isinstance(target, AtProvider) else {}

    def _near(self, target: Target) -> bool:
        """Whether what is asked of a target stays here, as far as its address tells."""
        match target:
            case AtProvider(provider):
                return is_near(self._settings.providers[provider].base_url)
            case AtUrl(base_url):
                return is_near(base_url)
            case _:
                return not isinstance(target, ThroughLitellm)

    def _source(self, target: Target, told_as: str) -> Source:
        """The source of a target, whose errors name it as clients may know it."""
        source: Source
        match target:
            case Demo():
                source = registry.resolve("sources", "demo")(**_demo(self._settings.demo))
            case AtProvider(provider, upstream):
                source = self._provider(provider).source(upstream)
            case AtUrl(base_url, upstream):
                provider_at = registry.resolve("providers", "openai")(base_url)
                provider_at.called = told_as
                source = provider_at.source(upstream)
            case ThroughLitellm(upstream):
                source = registry.resolve("sources", "litellm")(model=upstream)
            case Function(path):
                source = registry.resolve("sources", "callable")(path)
            case OnCassette(path, speed):
                source = registry.resolve("sources", "replay")(path, speed=speed)
            case _:
                assert_never(target)
        if not isinstance(target, AtProvider | ThroughLitellm | Demo):
            self._sources.append(source)
        return source

    def _provider(self, name: str) -> Any:
        if name not in self._providers:
            found = self._settings.providers[name]
            key = found.api_key.reveal() if found.api_key else None
            self._providers[name] = registry.resolve("providers", found.kind)(found.base_url, api_key=key)
            self._providers[name].drain = float(found.drain)
            self._providers[name].called = name
        return self._providers[name]

    @property
    def warms(self) -> bool:
        """Whether there are providers that are to be warm."""
        return any(provider.warm for provider in self._settings.providers.values())

    async def warm(self) -> list[str]:
        """Connect to the providers that are to be warm. Returns the names of those that cannot be reached."""
        wanted = [name for name, provider in self._settings.providers.items() if provider.warm]
        problems = await asyncio.gather(*(self._provider(name).warm() for name in wanted), return_exceptions=True)
        for problem in problems:
            if problem is not None and not isinstance(problem, Unreachable):
                raise problem
        return [name for name, problem in zip(wanted, problems, strict=True) if problem is not None]

    async def close(self) -> None:
        """Close what the sources hold open."""
        holders = [*self._providers.values(), *self._sources]
        for holder in holders:
            close: Callable[[], Awaitable[None]] | None = getattr(holder, "close", None)
            if close is not None:
                await close()


def _provider_of(target: Target) -> str:
    return target.provider if isinstance(target, AtProvider) else "penstock"


def _limits(alias: ModelConfig) -> dict[str, float]:
    return {name: float(limit) for name, limit in msgspec.structs.asdict(alias.limits).items() if limit is not None}


def _least(windows: Iterable[int | None]) -> int | None:
    """The smallest, where all are known."""
    known = list(windows)
    return min((window for window in known if window is not None), default=None) if None not in known else None


def _metered(target: Target) -> bool:
    return isinstance(target, AtProvider | AtUrl | ThroughLitellm)


def _stated(features: Features) -> dict[str, bool]:
    return {feature: has for feature, has in msgspec.structs.asdict(features).items() if has is not None}


def _demo(given: DemoConfig) -> dict[str, Any]:
    return {**{name: getattr(given, name) for name in given.__struct_fields__}, "stall": float(given.stall)}
