"""Providers whose usual variables are in the environment, at their usual address: they need no line in the file."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from penstock.config.errors import ConfigError
from penstock.config.model import ProviderConfig, Speaks
from penstock.config.target import read_base_url
from penstock.config.units import Secret


class Usual(msgspec.Struct, frozen=True):
    """Where a provider's key is looked for, where it listens, and what it speaks there, as its own documentation says."""

    variable: str
    base_url: str
    kind: Speaks = "openai"

    @property
    def elsewhere(self) -> str:
        """The variable that names another address."""
        return self.variable.replace("_API_KEY", "_BASE_URL")


USUAL = {
    "openai": Usual("OPENAI_API_KEY", "https://api.openai.com/v1"),
    "anthropic": Usual("ANTHROPIC_API_KEY", "https://api.anthropic.com", "anthropic"),
    "mistral": Usual("MISTRAL_API_KEY", "https://api.mistral.ai/v1"),
    "groq": Usual("GROQ_API_KEY", "https://api.groq.com/openai/v1"),
    "deepseek": Usual("DEEPSEEK_API_KEY", "https://api.deepseek.com/v1"),
    "openrouter": Usual("OPENROUTER_API_KEY", "https://openrouter.ai/api/v1"),
    "gemini": Usual("GEMINI_API_KEY", "https://generativelanguage.googleapis.com/v1beta/openai"),
}
KEYLESS = frozenset({"openai", "anthropic"})
"""Protocols that servers on one's own machine speak as well: an address alone is enough."""
OLLAMA_PORT = 11434


def from_environment(environ: Mapping[str, str]) -> dict[str, ProviderConfig]:
    """The providers there are keys for, and servers at `OPENAI_BASE_URL` and `ANTHROPIC_BASE_URL`, which may need none."""
    found = {}
    for name, usual in USUAL.items():
        key = environ.get(usual.variable, "").strip()
        elsewhere = environ.get(usual.elsewhere, "").strip()
        if key or (elsewhere and name in KEYLESS):
            url = _read(elsewhere, usual.elsewhere) if elsewhere else usual.base_url
            found[name] = ProviderConfig(base_url=url, api_key=Secret(key) if key else None, kind=usual.kind)
    if host := environ.get("OLLAMA_HOST", "").strip():
        found["ollama"] = ProviderConfig(base_url=_read(_ollama(host), "OLLAMA_HOST"), kind="ollama")
    return found


def at_usual_address(name: str) -> ProviderConfig | None:
    """A provider that has a usual address, without a key."""
    if name == "ollama":
        return ProviderConfig(base_url=_ollama(""), kind="ollama")
    return ProviderConfig(base_url=USUAL[name].base_url, kind=USUAL[name].kind) if name in USUAL else None


def key_wanted(base_url: str) -> str | None:
    """The usual variable of the key without which a provider at this address refuses everybody; None where nobody knows of one."""
    address = base_url.rstrip("/")
    return next((usual.variable for usual in USUAL.values() if usual.base_url == address), None)


def _read(address: str, variable: str) -> str:
    try:
        return read_base_url(address)
    except ValueError as wrong:
        raise ConfigError(str(wrong), place=f"environment variable {variable}") from None


def _ollama(host: str) -> str:
    """The address in the forms Ollama itself takes: `host`, `host:port`, `:port` or a URL; where it listens everywhere, here."""
    scheme, separator, rest = host.rpartition("://")
    name, colon, port = rest.rstrip("/").rpartition(":")
    if not colon or port.endswith("]"):
        name, port = rest.rstrip("/"), "" if separator else str(OLLAMA_PORT)
    if name in ("", "0.0.0.0", "[::]"):
        name = "127.0.0.1"
    return f"{scheme or 'http'}://{name}{':' if port else ''}{port}"
