"""Where a provider is asked: by the base URL, and through the proxy of the environment."""

import pytest

from penstock.sources.base_url import proxy_of, url_of
from penstock.sources.openai_http import OpenAIProvider
from tests.fakes.provider import Provider
from tests.sources.asking import failure


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://api.test", "https://api.test/v1/chat/completions"),
        ("https://api.test/", "https://api.test/v1/chat/completions"),
        ("https://api.test/v1", "https://api.test/v1/chat/completions"),
        ("https://api.test/v1/", "https://api.test/v1/chat/completions"),
        ("http://127.0.0.1:8081/proxy/openai/", "http://127.0.0.1:8081/proxy/openai/chat/completions"),
        ("https://api.test/openai?api-version=1", "https://api.test/openai/chat/completions?api-version=1"),
        ("http://[::1]:8081#fragment", "http://[::1]:8081/v1/chat/completions"),
    ],
)
def test_a_base_url_is_taken_in_every_usual_form(base_url: str, url: str) -> None:
    assert url_of(base_url, "/v1", "/chat/completions") == url


@pytest.mark.parametrize("base_url", ["", "api.test/v1", "ftp://api.test", "http://", "http://[::1"])
def test_a_base_url_that_is_none_is_refused(base_url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|base_url"):
        OpenAIProvider(base_url)


def test_the_name_of_a_provider_holds_no_credentials() -> None:
    assert OpenAIProvider("https://user:password@api.test:8443/v1").called == "api.test:8443"


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.test:3128")
    monkeypatch.setenv("http_proxy", "socks5://proxy.test:1080")
    monkeypatch.setenv("no_proxy", "direct.test")


@pytest.mark.usefixtures("proxied")
@pytest.mark.parametrize(
    ("scheme", "host", "proxy"),
    [
        ("https", "api.test", "http://proxy.test:3128"),
        ("https", "direct.test", None),
        ("https", "localhost", None),
        ("http", "127.0.0.1", None),
    ],
)
def test_a_proxy_is_taken_from_the_environment(scheme: str, host: str, proxy: str | None) -> None:
    assert proxy_of(scheme, host) == proxy


@pytest.mark.usefixtures("proxied")
def test_a_proxy_that_speaks_no_http_is_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match=r"http_proxy must be an http:// address; set no_proxy=api\.test"):
        OpenAIProvider("http://api.test")


async def test_a_proxy_is_asked_in_the_providers_place(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", provider.base_url.removesuffix("/v1"))
    monkeypatch.delenv("no_proxy", raising=False)
    source = OpenAIProvider("http://api.test:81/v1").source("m")
    assert await failure(source) == ("", "provider_model_unknown")  # the fake knows no such route
    await source.close()
    assert [request.path for request in provider.requests] == ["http://api.test:81/v1/chat/completions"]
