"""Providers whose usual variables are in the environment, at their usual address: they need no line in the file."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.config.errors import ConfigError
from penstock.config.model import ProviderConfig
from penstock.config.target import read_base_url
from penstock.config.units import Secret

USUAL = {
    "openai": ("OPENAI_API_KEY", "https://api.openai.com/v1"),
    "mistral": ("MISTRAL_API_KEY", "https://api.mistral.ai/v1"),
    "groq": ("GROQ_API_KEY", "https://api.groq.com/openai/v1"),
    "deepseek": ("DEEPSEEK_API_KEY", "https://api.deepseek.com/v1"),
    "openrouter": ("OPENROUTER_API_KEY", "https://openrouter.ai/api/v1"),
    "gemini": ("GEMINI_API_KEY", "https://generativelanguage.googleapis.com/v1beta/openai"),
}
"""Each speaks the chat API of OpenAI at this address, as its own documentation says."""
OLLAMA_PORT = 11434


def from_environment(environ: Mapping[str, str]) -> dict[str, ProviderConfig]:
    """The providers there are keys for, and OpenAI's protocol at `OPENAI_BASE_URL`, which needs no key on one's own machine."""
    found = {}
    for name, (variable, address) in USUAL.items():
        key = environ.get(variable, "").strip()
        elsewhere = environ.get(variable.replace("_API_KEY", "_BASE_URL"), "").strip()
        if key or (elsewhere and name == "openai"):
            url = _read(elsewhere, variable.replace("_API_KEY", "_BASE_URL")) if elsewhere else address
            found[name] = ProviderConfig(base_url=url, api_key=Secret(key) if key else None)
    if host := environ.get("OLLAMA_HOST", "").strip():
        found["ollama"] = ProviderConfig(base_url=_read(_ollama(host), "OLLAMA_HOST"))
    return found


def at_usual_address(name: str) -> ProviderConfig | None:
    """A provider that has a usual address, without a key."""
    if name == "ollama":
        return ProviderConfig(base_url=_ollama(""))
    return ProviderConfig(base_url=USUAL[name][1]) if name in USUAL else None


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
    return f"{scheme or 'http'}://{name}{':' if port else ''}{port}/v1"
