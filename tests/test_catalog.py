"""Models by name: those that are listed, and those that nobody configured, which any client may name as often as it likes."""

from __future__ import annotations

import gc

from penstock.catalog import MOST_MODELS, Catalog
from penstock.config.model import Config, ProviderConfig
from penstock.config.models import ModelConfig, TargetConfig
from penstock.config.server import ServerConfig
from penstock.core.health import Health
from penstock.sources.provider import HttpSource
from penstock.staging import MOST_HEALTH

NAMES = 3_000


async def test_the_model_that_answers_where_none_is_named_is_listed_once() -> None:
    providers = {"any": ProviderConfig(kind="openai", base_url="http://127.0.0.1:9/v1")}
    for default, names in (("any/qwen3", ["demo", "any/qwen3"]), ("demo", ["demo"])):
        catalog = Catalog(Config(server=ServerConfig(model=default), providers=providers), {})
        assert [model.name for model in catalog.listed()] == names
        await catalog.close()


async def test_a_model_takes_what_the_smallest_of_its_targets_takes_where_all_are_known() -> None:
    windows = {"http://127.0.0.1:9/v1#a": 9000, "http://127.0.0.1:9/v1#b": 8000}
    models = {"both": ModelConfig(targets=tuple(windows)), "more": ModelConfig(targets=(*windows, "demo"))}
    targets = {name: TargetConfig(context=tokens) for name, tokens in windows.items()}
    catalog = Catalog(Config(models=models, targets=targets), {})
    assert (catalog.model("both").context, catalog.model("more").context) == (8000, None)
    await catalog.close()


async def test_names_that_clients_invent_are_not_remembered_beyond_a_bound() -> None:
    settings = Config(providers={"any": ProviderConfig(kind="openai", base_url="http://127.0.0.1:9/v1")})
    catalog = Catalog(settings, {})
    before = _alive()
    for number in range(NAMES):
        assert catalog.model(f"any/model-{number}").name == f"any/model-{number}"
    gc.collect()
    sources, healths = (now - then for now, then in zip(_alive(), before, strict=True))
    assert sources <= MOST_MODELS
    assert healths <= MOST_HEALTH + MOST_MODELS
    await catalog.close()


def _alive() -> tuple[int, int]:
    alive = gc.get_objects()
    return sum(type(each) is HttpSource for each in alive), sum(type(each) is Health for each in alive)
