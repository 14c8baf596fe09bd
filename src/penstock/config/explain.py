"""The configuration in words: what a server would serve, as aligned text, and the reference of every setting as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from penstock.config import load, providers
from penstock.config.bounds import Bounds, TimeLimits
from penstock.config.model import AuthConfig, Config, DemoConfig, LogConfig, MetricsConfig, ProviderConfig
from penstock.config.models import (
    Features,
    ModelConfig,
    ModelLimits,
    PriceConfig,
    PricesConfig,
    RetryConfig,
    TargetConfig,
)
from penstock.config.routes import DEFAULT_ROUTES, RouteConfig
from penstock.config.rules import RuleConfig
from penstock.config.server import ServerConfig
from penstock.config.target import read_target, told
from penstock.config.units import Bytes, OnDisconnect, Seconds, Secret
from penstock.core.rules import Length, When

ALWAYS = (
    ("POST GET", "/v1/streams", "begin a run, list yours"),
    ("GET", "/v1/streams/events", "several runs on one connection"),
    ("GET DELETE", "/v1/streams/{id}", "state and text of a run, cancel it"),
    ("GET", "/v1/streams/{id}/events", "attach to a run, resume it"),
    ("POST", "/v1/streams/{id}/input", "say something to a run"),
    ("GET", "/v1/streams/{id}/cassette", "a run that has ended, recorded"),
    ("GET", "/v1/models", "the models"),
    ("GET", "/v1/models/{model}", "one of them"),
    ("POST", "/v1/embeddings", "embeddings, of OpenAI-compatible providers"),
    ("POST", "/v1/messages/count_tokens", "how many tokens a question has"),
    ("POST", "/v1/responses/input_tokens", "the same, in OpenAI's words"),
    ("GET", "/healthz /readyz", "health"),
)
"""What is served whatever the configuration says: methods, path, purpose."""
METRICS = ("GET", "/metrics", "the figures of the server, for Prometheus")
"""What is served beside them, unless the metrics are switched off or have a port of their own."""


def summary(config: Config, *, file: str | None) -> str:
    """What `penstock check` prints: where, which routes, which models, which providers. No secret is in it."""
    server = config.server
    lines = [
        f"file       {file or 'none; these are the defaults'}",
        f"address    {address(server.host, server.port, tls=server.tls_certificate is not None)}{server.path_prefix}",
        f"access     {_access(config)}",
        "",
        "routes",
        *_columns(
            ("METHODS", "PATH", "TRANSPORT", "DIALECT", "MODEL", "WHEN THE LAST READER LEAVES", "SLOW READER"),
            *(
                (
                    " ".join(route.methods),
                    route.path,
                    " ".join(route.transport),
                    route.dialect,
                    route.model or config.default_model,
                    str(route.on_disconnect),
                    route.slow_reader,
                )
                for route in config.route
            ),
        ),
        "",
        "always there",
        *_columns(*ALWAYS, *([METRICS] if config.metrics.enabled and config.metrics.port is None else [])),
        "",
        "models",
        *_columns(
            *((name, "→ " + ", ".join(_targets(name, model, config))) for name, model in config.models.items()),
            *(() if "demo" in config.models else (("demo", "needs no key"),)),
            *((f"{name}/…", "any model of this provider") for name in config.providers),
        ),
    ]
    if config.providers:
        rows = (
            (name, it.base_url, f"speaks {it.kind}", "with a key" if it.api_key else "no key")
            for name, it in config.providers.items()
        )
        lines += ["", "providers", *_columns(*rows)]
    return "\n".join(lines) + "\n"


def _targets(name: str, model: ModelConfig, config: Config) -> list[str]:
    """The targets of a model, each with the name by which clients, notes, metrics and the log know it where that is another."""
    if len(model.targets) == 1 or any(target in config.models and target != name for target in model.targets):
        return list(model.targets)
    names = told({target: read_target(target, config.providers) for target in model.targets})
    return [target if own == target else f"{own} ({target})" for own, target in names.items()]


def _access(config: Config) -> str:
    auth = config.auth
    if auth.open:
        return "open: any key is accepted and ignored"
    if auth.authenticator != "keys":
        return f"decided by {auth.authenticator}"
    places = [*(["PENSTOCK_API_KEYS"] if auth.api_keys else []), *([auth.keys_file] if auth.keys_file else [])]
    return f"with a key of {' and '.join(places)}"


def address(host: str, port: int, *, tls: bool) -> str:
    """The URL of a server, with the brackets an IPv6 address needs."""
    return f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"


def _columns(*rows: Sequence[str]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


# -- the reference -----------------------------------------------------------------------------------------------------

SECTIONS: tuple[tuple[str, type[msgspec.Struct]], ...] = (
    ("[server]", ServerConfig),
    ("[auth]", AuthConfig),
    ("[log]", LogConfig),
    ("[metrics]", MetricsConfig),
    ("[[route]]", RouteConfig),
    ("[providers.NAME]", ProviderConfig),
    ("[models.NAME]", ModelConfig),
    ("[models.NAME.features]", Features),
    ("[models.NAME.limits]", ModelLimits),
    ("[models.NAME.retry]", RetryConfig),
    ("[[models.NAME.rule]]", RuleConfig),
    ("[models.NAME.rule.when]", When),
    ("[targets.NAME]", TargetConfig),
    ("[targets.NAME.price]", PriceConfig),
    ("[prices]", PricesConfig),
    ("[limits]", TimeLimits),
    ("[bounds]", Bounds),
    ("[demo]", DemoConfig),
)

_OPENING = """# Configuration

<!-- Made by `python -m penstock.config.explain` from src/penstock/config/model.py; change it there. -->

penstock runs without a file. What you do set comes from four places; what stands further down wins:

1. the defaults below,
2. one TOML file: `--config FILE`, else the variable `PENSTOCK_CONFIG`, else `penstock.toml` in the working directory,
3. environment variables,
4. flags of `penstock serve` and `penstock check`.

A mistake stops the start. It is named with its place (file and line, variable or flag), its key and the nearest valid
name. `penstock check` reads everything, builds everything, prints the routes and models, and opens nothing.

```toml
[server]
port = 9000

[providers.local]
base_url = "http://127.0.0.1:8081/v1"

[models.fast]
targets = ["local/qwen3"]

[[route]]
path = "/v1/chat/completions"
dialect = "openai-chat"
transport = ["sse"]
model = "fast"
on_disconnect = "cancel"
```

## How values are written

| type | written as |
| --- | --- |
| time | seconds as a number, or text with a unit: `0.5`, `"250ms"`, `"90s"`, `"5m"`, `"1h"` |
| size | bytes as a whole number, or text with a unit: `65536`, `"64KiB"`, `"8MiB"`, `"1GB"` |
| length | tokens as a whole number, or text with a unit: `"8000 tokens"`, `"8k tokens"`, `"200 words"`; all are estimates |
| secret | `"env:NAME"` reads an environment variable, `"file:PATH"` a file beside the configuration; else it is the secret itself |

## Names of models

| name | means |
| --- | --- |
| `demo` | the model that needs no key |
| `NAME` | an alias: a table `[models.NAME]` |
| `provider/model` | that model of a provider; what follows the first slash goes upstream as it is |
| `litellm/model` | any model that litellm reaches, in litellm's own words; needs `pip install 'penstock[litellm]'` |
| `http://host:port/v1#model` | a model of any OpenAI-compatible server |
| `package.module:function` | an async generator of your own |

The last two say where something is, so only the configuration may use them, never a request. As the `model` of
`[server]` or of a route they are asked for by what stands behind the `#`, or by the name of the function.
"""

_ENVIRONMENT = """## Environment variables

Every setting with a name of its own is a variable `PENSTOCK_SECTION__KEY`, as in `PENSTOCK_LIMITS__GAP=90s` or
`PENSTOCK_PROVIDERS__LOCAL__BASE_URL`. A list is written as in the file: `["a", "b"]`. Routes are set in the file alone.

These have a shorter name too; the long one wins:

{short}

`PORT` sets the port where neither the file nor a variable of ours does. `PENSTOCK_CONFIG` names the file,
`PENSTOCK_URL` the server that `penstock chat` and `penstock streams` talk to, `PENSTOCK_API_KEY` the key they show it.

## Providers from the environment

A provider is there without a line in the file as soon as its usual variable is set. `OPENAI_BASE_URL` or
`ANTHROPIC_BASE_URL` alone is enough for a server of your own that wants no key, and another address for any of the others
goes the same way (`MISTRAL_BASE_URL` and so on). A key found in the environment goes to the usual address only, never to a
`base_url` of the file. A `[providers.NAME]` with one of these names speaks what the table says, unless its `kind` says
otherwise. For `anthropic` and `ollama` it does not matter whether an address ends in `/v1`.

{usual}
"""


def reference() -> str:
    """The page `docs/reference/config.md`."""
    parts = [_OPENING, "## Settings\n"]
    for heading, kind in SECTIONS:
        parts.append(f"### `{heading}`\n\n{_doc(kind)}\n\n{_settings(kind)}\n")
        if kind is RouteConfig:
            parts.append(f"The default routes:\n\n{_default_routes()}\n")
    short = _markdown(
        ("variable", "setting"), *((f"`{name}`", f"`{'.'.join(map(str, key))}`") for name, key in load.SHORT.items())
    )
    usual = _markdown(
        ("provider", "variable", "address", "speaks"),
        *(
            (f"`{name}/…`", f"`{it.variable}`", f"`{it.base_url}`", f"`{it.kind}`")
            for name, it in providers.USUAL.items()
        ),
        (
            "`ollama/…`",
            "`OLLAMA_HOST`",
            f"`http://127.0.0.1:{providers.OLLAMA_PORT}`, or the host it names",
            "`ollama`",
        ),
    )
    parts.append(_ENVIRONMENT.format(short=short, usual=usual))
    return "\n".join(parts)


def _settings(kind: type[msgspec.Struct]) -> str:
    rows = []
    for field in msgspec.structs.fields(kind):
        described, meta = _described(field.type)
        default = "required" if field.required else _default(field.default)
        if kind is RouteConfig and field.name == "methods":
            default = ""
        rows.append((f"`{field.name}`", _kind(described, meta), default, meta.description or ""))
    return _markdown(("key", "type", "default", "meaning"), *rows)


def _described(kind: Any) -> tuple[Any, msgspec.Meta]:
    """The type of a field and what is written about it; every field has something."""
    inner, meta = get_args(kind)
    return inner, meta


def _kind(kind: Any, meta: msgspec.Meta) -> str:
    simple = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    named = {
        Seconds: "time",
        Bytes: "size",
        Secret: "secret",
        Length: "length",
        OnDisconnect: "text or table",
        Path: "path",
    }
    if get_origin(kind) is Literal:
        return " ".join(f"`{word}`" for word in get_args(kind))
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            return "tables"
        return f"list of {_kind(inner, meta)}" if get_origin(inner) is Literal else "list of text"
    alternatives = [each for each in get_args(kind) if each is not type(None)]
    if alternatives:
        return _kind(alternatives[0], meta)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return "table"
    limits = [f"from {meta.ge:,g}" if meta.ge is not None else "", f"to {meta.le:,g}" if meta.le is not None else ""]
    return " ".join(filter(None, [{**simple, **named}[kind], *limits]))


def _default(value: Any) -> str:
    if value is None or value == () or isinstance(value, msgspec.Struct):
        return ""
    if isinstance(value, Seconds | Bytes):
        return f"`{value}`" if value else "`0`"
    if isinstance(value, OnDisconnect):
        return f"`{str(value).replace(' ', ':')}`"
    if isinstance(value, tuple):
        return " ".join(f"`{each}`" for each in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else ""


def _default_routes() -> str:
    return _markdown(
        ("methods", "path", "transport", "dialect", "on_disconnect", "header_hold"),
        *(
            (
                " ".join(route.methods),
                f"`{route.path}`",
                " ".join(route.transport),
                route.dialect,
                str(route.on_disconnect),
                str(route.header_hold),
            )
            for route in DEFAULT_ROUTES
        ),
    )


def _doc(kind: type) -> str:
    """What a struct says of itself, as one paragraph per paragraph."""
    text = re.sub(r"[ \t]*\n[ \t]*", "\n", (kind.__doc__ or "").strip())
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text)


def _markdown(heads: Sequence[str], *rows: Iterable[str]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


if __name__ == "__main__":
    import sys

    sys.stdout.write(reference())
