"""From a document of TOML to values: every mistake is found with its path in the document and the nearest valid name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec

from penstock.config.bounds import Bounds, TimeLimits
from penstock.config.errors import Wrong, nearest
from penstock.config.locate import Key
from penstock.config.model import AuthConfig, Config, DemoConfig, LogConfig, MetricsConfig, ProviderConfig
from penstock.config.models import Features, ModelConfig, PricesConfig, TargetConfig
from penstock.config.providers import at_usual_address, key_wanted
from penstock.config.routes import DEFAULT_ROUTES, RouteConfig
from penstock.config.rules import read_rules
from penstock.config.server import ServerConfig
from penstock.config.target import AtUrl, Function, OnCassette, read_target
from penstock.config.units import Bytes, OnDisconnect, Seconds, Secret
from penstock.core.rules import Length

Table = dict[str, Any]
"""A table as tomllib gives it."""
Names = Callable[[str], Sequence[str]]
"""The registered names of a kind: `dialects`, `stages`."""
T = TypeVar("T", bound=msgspec.Struct)

KEYS_FILE = "penstock-keys.json"
"""The file of keys that is found without being named."""

INHERITED: dict[str, type[msgspec.Struct]] = {"limits": TimeLimits, "bounds": Bounds}
"""Tables of a route that are laid over those for everybody."""


WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}
"""What msgspec calls types, and what people do."""


class Reader:
    """Turns documents into values. Secrets are looked up in `environ`, files of secrets relative to `folder`.

    With `names`, a dialect or a stage that nobody registered is a mistake.
    """

    def __init__(self, environ: Mapping[str, str], folder: Path, names: Names | None = None):
        self._environ = environ
        self._folder = folder
        self._names = names

    def config(self, document: Table, found: dict[str, ProviderConfig]) -> Config:
        """The configuration, with the providers `found` in the environment. Raises `Wrong`."""
        _known((), document, Config)
        limits, bounds = _table(document, "limits"), _table(document, "bounds")
        models = {
            name: self._struct(("models", name), model, ModelConfig)
            for name, model in _table(document, "models").items()
        }
        config = Config(
            server=self._struct(("server",), _table(document, "server"), ServerConfig),
            auth=self._auth(_table(document, "auth")),
            log=self._struct(("log",), _table(document, "log"), LogConfig),
            metrics=self._struct(("metrics",), _table(document, "metrics"), MetricsConfig),
            limits=self._struct(("limits",), limits, TimeLimits),
            bounds=self._struct(("bounds",), bounds, Bounds),
            demo=self._struct(("demo",), _table(document, "demo"), DemoConfig),
            providers=self._providers(_table(document, "providers"), found),
            models=models,
            prices=self._struct(("prices",), _table(document, "prices"), PricesConfig),
            targets={
                name: self._struct(("targets", name), target, TargetConfig)
                for name, target in _table(document, "targets").items()
            },
        )
        for name, model in models.items():
            for number, target in enumerate(model.targets):
                if target not in models or target == name:
                    _target(("models", name, "targets", number), target, config)
            _no_circle(name, models)
            _promised(name, model, config)
            if model.hedge and len(model.targets) == 1 and (model.targets[0] not in models or model.targets[0] == name):
                raise Wrong(
                    ("models", name, "hedge"), "a hedge asks a second target, and there is but one; name another"
                )
            models[name] = msgspec.structs.replace(model, rule=read_rules(name, model, config))
        known = {target for model in models.values() for target in model.targets} - models.keys()
        for target in config.targets:
            if target not in known:
                raise Wrong(("targets", target), f"no model has a target {target!r}{nearest(target, sorted(known))}")
        return self._served(config, document.get("route", []), limits, bounds)

    def _auth(self, table: Table) -> AuthConfig:
        """With the file of keys where it is, so that keys once made are never forgotten by a setting that was not made."""
        auth = self._struct(("auth",), table, AuthConfig)
        path = self._folder / Path(auth.keys_file or KEYS_FILE).expanduser()
        if auth.keys_file is None and not path.is_file():
            return auth
        return msgspec.structs.replace(auth, keys_file=str(path))

    def _served(self, config: Config, routes: object, limits: Table, bounds: Table) -> Config:
        """The configuration with its routes, and with every model that is named outside `[models]`."""
        models = dict(config.models)
        server = config.server
        if server.model is not None:
            server = msgspec.structs.replace(server, model=_model(("server", "model"), server.model, config, models))
        served = self._routes(routes, config, models, limits, bounds)
        return msgspec.structs.replace(config, server=server, models=models, route=served)

    def lax(self, text: str, kind: object) -> object:
        """The text of an environment variable as the value a file would hold. Raises `msgspec.ValidationError`."""
        read = msgspec.convert(text, kind, strict=False, dec_hook=self._hook)
        return text if isinstance(read, Seconds | Bytes) or not isinstance(read, bool | int | float) else read

    def _struct(self, key: Key, table: object, kind: type[T]) -> T:
        if not isinstance(table, dict):
            raise Wrong(key, "this must be a table")
        _known(key, table, kind)
        try:
            return msgspec.convert(table, kind, dec_hook=self._hook)
        except msgspec.ValidationError as wrong:
            raise _explained(key, table, kind, str(wrong)) from None

    def _hook(self, kind: type, value: object) -> object:
        if kind is Secret:
            return self._secret(value)
        if kind is Path:
            if not isinstance(value, str) or not value:
                raise ValueError("a file is named by its path")
            return self._folder / Path(value).expanduser()
        if kind in (Seconds, Bytes, OnDisconnect, Length):
            return kind.read(value)
        raise NotImplementedError(kind)

    def _secret(self, value: object) -> Secret:
        """The key a reference leads to. No message shows the value: it may be the key itself."""
        if not isinstance(value, str) or not value:
            raise ValueError('a key is text: "env:NAME", "file:PATH", or the key itself')
        form, colon, rest = value.partition(":")
        if colon and form == "env":
            if not self._environ.get(rest):
                raise ValueError(f"the environment variable {rest} is not set")
            return Secret(self._environ[rest].strip())
        if colon and form == "file":
            try:
                text = (self._folder / rest).expanduser().read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as wrong:
                reason = wrong.strerror if isinstance(wrong, OSError) else "it is not text"
                raise ValueError(f"the file {rest} cannot be read: {reason}") from None
            if not text:
                raise ValueError(f"the file {rest} is empty")
            return Secret(text)
        return Secret(value)

    def _providers(self, tables: Table, found: dict[str, ProviderConfig]) -> dict[str, ProviderConfig]:
        providers = dict(found)
        for name, table in tables.items():
            key = ("providers", name)
            if not name or "/" in name or name in ("litellm", "http:", "https:"):
                raise Wrong(
                    key, f"a provider cannot be called {name!r}; the name stands before the slash of its models"
                )
            usual = found.get(name) or at_usual_address(name)
            if usual and isinstance(table, dict):
                provider = self._struct(key, {"base_url": usual.base_url, "kind": usual.kind, **table}, ProviderConfig)
                if "base_url" not in table:
                    # The usual address, hence the usual key: one from the environment never goes to another address.
                    provider = msgspec.structs.replace(provider, api_key=provider.api_key or usual.api_key)
            else:
                provider = self._struct(key, table, ProviderConfig)
            if provider.api_key is None and (variable := key_wanted(provider.base_url)):
                raise Wrong(key, f'this provider wants a key: set {variable}, or write api_key = "env:NAME" here')
            providers[name] = provider
        return providers

    def _routes(
        self, tables: object, config: Config, models: dict[str, ModelConfig], limits: Table, bounds: Table
    ) -> tuple[RouteConfig, ...]:
        if not isinstance(tables, list):
            raise Wrong(("route",), "routes are written as [[route]], with two brackets")
        routes = {route.path: route for route in DEFAULT_ROUTES}
        seen: set[str] = set()
        for number, table in enumerate(tables):
            key = ("route", number)
            complete = _inheriting(key, _inheriting(key, table, "limits", limits), "bounds", bounds)
            route = self._struct(key, complete, RouteConfig)
            if route.path in seen:
                raise Wrong((*key, "path"), f"another [[route]] has the path {route.path!r} already")
            if route.model is not None:
                named = _model((*key, "model"), route.model, config, models)
                route = msgspec.structs.replace(route, model=named)
            self._registered((*key, "dialect"), "dialects", route.dialect)
            for place, stage in enumerate(route.stages):
                self._registered((*key, "stages", place), "stages", stage)
            seen.add(route.path)
            routes[route.path] = route
        return tuple(routes.values())

    def _registered(self, key: Key, kind: str, name: str) -> None:
        if self._names is not None and name not in (known := self._names(kind)):
            raise Wrong(key, f"no {kind.removesuffix('s')} is called {name!r}{nearest(name, known)}")


def kind_at(key: Key) -> object:
    """The type of the setting at a path, for what cannot be asked of a file. Raises `LookupError`."""
    kind: object = Config
    for step in key:
        if get_origin(kind) is dict:
            kind = get_args(kind)[1]
        elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            kind = next((field.type for field in msgspec.structs.fields(kind) if field.encode_name == step), None)
            if kind is None:
                raise LookupError(step)
        else:
            raise LookupError(step)
        kind = _bare(kind)
    return kind


def _bare(kind: object) -> object:
    """A type without its description and without `None` as its alternative."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    alternatives = [alternative for alternative in get_args(kind) if alternative is not type(None)]
    if type(None) in get_args(kind) and len(alternatives) == 1:
        return _bare(alternatives[0])
    return kind


def _no_circle(name: str, models: Mapping[str, ModelConfig], way: tuple[str, ...] = ()) -> None:
    way = (*way, name)
    for number, target in enumerate(models[name].targets):
        if target in models and target != name:
            if target in way:
                said = f"these names lead in a circle: {' → '.join((*way, target))}"
                raise Wrong(("models", name, "targets", number), said)
            _no_circle(target, models, way)


def _promised(name: str, model: ModelConfig, config: Config) -> None:
    """As far as `[targets]` says, every target can do what the model promises: a fallback that cannot is none."""
    for number, target in enumerate(model.targets):
        if (stated := config.targets.get(target)) is None:
            continue
        key: Key = ("models", name, "targets", number)
        for feature in Features.__struct_fields__:
            if getattr(model.features, feature) and getattr(stated.features, feature) is False:
                raise Wrong(key, f"{target!r} has no {feature}, and this model promises it; {_WAYS}")
        if model.context is not None and stated.context is not None and stated.context < model.context:
            raise Wrong(
                key,
                f"{target!r} has a window of {stated.context} tokens, and this model promises {model.context}; {_WAYS}",
            )


_WAYS = "name another target, or do not promise it: then what this one cannot do is asked of the others alone"


def _target(key: Key, name: str, config: Config) -> None:
    try:
        target = read_target(name, config.providers)
    except ValueError as wrong:
        raise Wrong(key, str(wrong)) from None
    if isinstance(target, OnCassette) and not Path(target.path).is_file():
        raise Wrong(key, f"there is no file {target.path}; a cassette is looked for in the folder penstock runs in")


def _model(key: Key, name: str, config: Config, models: dict[str, ModelConfig]) -> str:
    """What a model is asked for by. One given by its address or function gets a name that says neither to clients."""
    if name in models:
        return name
    try:
        target = read_target(name, config.providers)
    except ValueError as wrong:
        near = get_close_matches(name, [*models, "demo"], 1)
        raise Wrong(key, f"no model is called {name!r}; did you mean {near[0]!r}?" if near else str(wrong)) from None
    match target:
        case AtUrl(_, short):
            pass
        case Function(path):
            short = path.rpartition(":")[2]
        case OnCassette(path):
            short = Path(path).stem
        case _:
            return name
    alias = ModelConfig(targets=(name,))
    if models.setdefault(short, alias) != alias:
        raise Wrong(key, f"there is another model called {short!r}; give this one a name of its own in [models]")
    return short


def _table(document: Table, name: str) -> Table:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise Wrong((name,), f"this must be a table, as in [{name}]")
    return table


def _inheriting(key: Key, route: object, name: str, everywhere: Table) -> object:
    """The route with its own table of limits or bounds laid over the one for everybody."""
    own = route.get(name) if isinstance(route, dict) else None
    if not isinstance(route, dict) or not isinstance(own, dict):
        return route
    _known((*key, name), own, INHERITED[name])
    return {**route, name: {**everywhere, **own}}


def _known(key: Key, table: Table, kind: type[msgspec.Struct]) -> None:
    """Refuse what no field is called, at any depth that has fields."""
    kinds = {field.encode_name: _bare(field.type) for field in msgspec.structs.fields(kind)}
    for name, value in table.items():
        if name not in kinds:
            raise Wrong((*key, name), f"there is no setting of this name{nearest(name, list(kinds))}")
        inner = kinds[name]
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct) and isinstance(value, dict):
            _known((*key, name), value, inner)
        elif get_origin(inner) is tuple and isinstance(value, list):
            element = get_args(inner)[0]
            if isinstance(element, type) and issubclass(element, msgspec.Struct):
                for number, each in enumerate(value):
                    if isinstance(each, dict):
                        _known((*key, name, number), each, element)


def _explained(key: Key, table: Table, kind: type[msgspec.Struct], said: str) -> Wrong:
    """What msgspec said, with the path it was at and, for a choice, what there is to choose from."""
    message, _, path = said.partition(" - at ")
    steps = _steps(path.strip("`"))
    if message.startswith("Object missing required field"):
        return Wrong((*key, *steps), f"this needs a {message.rpartition(' ')[2].strip('`')!r}")
    if message.startswith("Invalid enum value"):
        wanted: object = kind
        value: Any = table
        for step in steps:
            value = value[step]
            wanted = _within(wanted, step)
        return Wrong((*key, *steps), f"{value!r} is no choice here{nearest(str(value), _choices(wanted))}")
    first, _, rest = message.partition(" ")
    names = [field.encode_name for field in msgspec.structs.fields(kind)]
    if not steps and first.rstrip(":") in names:
        # A rule of the whole table says which of its keys it is about in its first word.
        return Wrong((*key, first.rstrip(":")), rest if first.endswith(":") else message)
    return Wrong((*key, *steps), _plain(message))


def _within(kind: object, step: str | int) -> object:
    """The type of what a list or a table has at one step."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return next((_bare(field.type) for field in msgspec.structs.fields(kind) if field.encode_name == step), None)
    return _bare(next(iter(get_args(kind)), None))


def _plain(message: str) -> str:
    """msgspec's words for a wrong type in words for a file: ``Expected `int`, got `str` ``."""
    for word, meaning in WORDS.items():
        message = message.replace(f"`{word}", f"`{meaning}")
    return f"{message[:1].lower()}{message[1:]}".replace(" | null`", "`").replace("`", "")


def _steps(path: str) -> Key:
    """`$.route[0].path` as a path."""
    steps: list[str | int] = []
    for piece in path.removeprefix("$").replace("[", ".[").split("."):
        if piece.startswith("[") and piece[1:-1].isdecimal():
            steps.append(int(piece[1:-1]))
        elif piece and not piece.startswith("["):
            steps.append(piece)
    return tuple(steps)


def _choices(kind: object) -> list[str]:
    """Every word a type allows."""
    if get_origin(kind) is Literal:
        return [str(word) for word in get_args(kind)]
    return [word for inner in get_args(kind) for word in _choices(inner)]
