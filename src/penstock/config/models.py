"""`[models]` and `[targets]`: names of your own for one or several models, and what is known of each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.config.rules import RuleConfig
from penstock.config.units import SHORTEST, Seconds

Strategy = Literal["order", "weighted", "latency", "least-busy", "cost", "auto"]
Continues = Literal["exact", "prefill", "instructed", "no"]

MOST_TARGETS = 16


class Features(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model can and cannot, for those who ask `/v1/models`; what is left out is told as not known."""

    tools: Annotated[bool | None, Meta(description="It calls tools.")] = None
    reasoning: Annotated[bool | None, Meta(description="It tells its reasoning.")] = None
    images: Annotated[bool | None, Meta(description="It looks at images.")] = None
    audio: Annotated[bool | None, Meta(description="It listens to audio.")] = None
    prefill: Annotated[
        bool | None, Meta(description="It goes on from the last message where that is the assistant's.")
    ] = None
    structured: Annotated[bool | None, Meta(description="It answers in the form of a JSON Schema.")] = None
    embeddings: Annotated[bool | None, Meta(description="It makes embeddings.")] = None


class PriceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a million tokens cost. Any currency, the same one everywhere."""

    input: Annotated[float, Meta(ge=0, description="Tokens of the question.")]
    output: Annotated[float, Meta(ge=0, description="Tokens of the answer.")]
    cached: Annotated[float | None, Meta(description="Tokens of the question that the provider had in its cache.")] = (
        None
    )
    cache_written: Annotated[
        float | None, Meta(description="Tokens of the question that the provider put into its cache.")
    ] = None


class PricesConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The price table, from which every run of a provider gets its cost."""

    file: Annotated[
        Path | None,
        Meta(
            description='A TOML file with a table for each model, as in `["openai/gpt-4.1-mini"]` with `input`, `output`, '
            "`cached` and `cache_written`. It stands above the list prices that penstock knows."
        ),
    ] = None


class TargetConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of one target, under the name by which `targets` of a model has it: `[targets."openai/gpt-4.1-mini"]`."""

    weight: Annotated[float, Meta(ge=0, description="Its share with the strategy `weighted`.")] = 1.0
    concurrent: Annotated[int | None, Meta(description="How many runs it takes at once.")] = None
    queue: Annotated[
        int,
        Meta(
            ge=0, description="With `concurrent`: how many more wait for their turn; beyond, other targets are asked."
        ),
    ] = 100
    context: Annotated[int | None, Meta(description="How many tokens its window has.")] = None
    features: Annotated[
        Features, Meta(description="What it can and cannot; what it cannot do is asked of the other targets.")
    ] = Features()
    continues: Annotated[
        Continues,
        Meta(
            description="How it goes on with an answer that another target began: from the very token (`exact`), from words "
            "put into its mouth (`prefill`), because it is told to (`instructed`), or `no`."
        ),
    ] = "instructed"
    local: Annotated[
        bool | None,
        Meta(
            description="It runs here, so that a client that hints `local` may be answered by it. Without it, what has an "
            "address of this machine or of a private network is local, and so are `demo`, functions and cassettes."
        ),
    ] = None
    warm: Annotated[
        bool,
        Meta(
            description="Ask it for one token when the server starts and after every reload, so that an engine has loaded the model, "
            "and the connection is there, before anybody else asks. That question is paid like any other."
        ),
    ] = False
    price: Annotated[PriceConfig | None, Meta(description="What its tokens cost: `{ input = 0.4, output = 1.6 }`.")] = (
        None
    )

    def __post_init__(self) -> None:
        for name in ("concurrent", "context"):
            if (most := getattr(self, name)) is not None and most < 1:
                raise ValueError(f"{name} ({most}) must be at least 1")


class RetryConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Asking the same target again when it failed before its first word."""

    attempts: Annotated[int, Meta(ge=1, le=10, description="How often it is asked in all; 1 is never again.")] = 3
    base: Annotated[Seconds, Meta(description="The first pause is a random time of up to twice as long.")] = Seconds(
        0.25
    )
    longest: Annotated[Seconds, Meta(description="No pause is drawn longer.")] = Seconds(4)
    patience: Annotated[
        Seconds, Meta(description="A provider that wants to be left alone for longer is not asked again.")
    ] = Seconds(30)
    budget: Annotated[
        float,
        Meta(ge=0, le=1, description="Retries for each request, on the average, so that they never become the outage."),
    ] = 0.2


class ModelLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Time limits of one model, above those of its route and of `[limits]`."""

    connect: Annotated[Seconds | None, Meta(description="To connect to a target.")] = None
    first_token: Annotated[Seconds | None, Meta(description="From the question to a target to its first token.")] = None
    gap: Annotated[Seconds | None, Meta(description="Between two tokens.")] = None
    total: Annotated[Seconds | None, Meta(description="The whole run.")] = None
    floor: Annotated[float | None, Meta(description="Tokens per second, over ten seconds; 0 is no floor.")] = None

    def __post_init__(self) -> None:
        for name in ("connect", "first_token", "gap", "total"):
            if (limit := getattr(self, name)) is not None and limit < SHORTEST:
                raise ValueError(f"{name} ({limit}) must not be below {SHORTEST}")
        if self.floor is not None and self.floor < 0:
            raise ValueError(f"floor ({self.floor:g}) must not be below 0")


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An alias: a name of your own for a model, or for several of which one answers."""

    targets: Annotated[
        tuple[str, ...],
        Meta(
            description='What answers: `"provider/name"`, `"http://127.0.0.1:8081/v1#name"`, `"litellm/name"`, '
            '`"module:function"`, `"demo"`, or another alias. Where one fails before its first word, the next is asked.'
        ),
    ]
    features: Annotated[
        Features,
        Meta(
            description="What it can and cannot, as in `{tools = true, images = false}`; nothing is tried or guessed. A target that "
            "is known not to do what is promised here is a mistake."
        ),
    ] = Features()
    context: Annotated[
        int | None,
        Meta(description="How many tokens it takes. A target that is known to have a smaller window is a mistake."),
    ] = None
    strategy: Annotated[
        Strategy,
        Meta(
            description="Which target is asked first: in their `order`, `weighted` at random, the one with the least "
            "`latency`, the `least-busy`, the one of the least `cost`, or by what is asked: `auto`, see `[[models.NAME.rule]]`."
        ),
    ] = "order"
    concurrent: Annotated[
        int | None,
        Meta(description="How many runs of this name may live at once; beyond, new ones are refused at once."),
    ] = None
    rule: Annotated[
        tuple[RuleConfig, ...],
        Meta(description="With `auto`: which requests go to which targets. The first rule that holds decides."),
    ] = ()
    hints: Annotated[
        bool,
        Meta(description="With `auto`: clients may say `fast`, `cheap`, `best`, `local` or the name of a target."),
    ] = True
    sticky: Annotated[
        bool,
        Meta(
            description="The target that answered a conversation goes on with it while it is well, for the sake of its cache. A "
            "conversation is told by its chat, by the answer it goes on from, by `prompt_cache_key` or by `user`."
        ),
    ] = False
    limits: Annotated[ModelLimits, Meta(description="Time limits of its own.")] = ModelLimits()
    hedge: Annotated[
        bool,
        Meta(
            description="Ask a second target too when the first is later with its first word than 95 of 100 of its answers "
            "were, and keep whichever speaks first. It costs the tokens of both; at most one request in ten is hedged."
        ),
    ] = False
    retry: Annotated[
        RetryConfig | None,
        Meta(
            description="Asking the same target again. Without this table only where a model has several targets: once, "
            "and none that wants to be left alone for longer than a second."
        ),
    ] = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.targets) <= MOST_TARGETS:
            raise ValueError(f"targets names {len(self.targets)} models; it must name 1 to {MOST_TARGETS}")
        if len(set(self.targets)) < len(self.targets):
            raise ValueError("targets names a model twice")
        for name in ("concurrent", "context"):
            if (most := getattr(self, name)) is not None and most < 1:
                raise ValueError(f"{name} ({most}) must be at least 1")
