"""Which pages may speak to the server and which names it is known by, header by header."""

import pytest

from penstock.auth.browser import ALLOWED, EXPOSED, MOST, VARY, Browsers, preflight
from penstock.core.errors import Refused

OURS = b"127.0.0.1:8420"


def refused(browsers: Browsers, *, harmless: bool = False, **headers: bytes) -> str:
    with pytest.raises(Refused) as refusal:
        admitted(browsers, harmless=harmless, **headers)
    return refusal.value.fault.code


def admitted(browsers: Browsers, *, harmless: bool = False, **headers: bytes) -> dict[bytes, bytes]:
    given = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    return dict(browsers.admit(given, harmless=harmless))


def cors(origin: bytes) -> dict[bytes, bytes]:
    return dict([VARY, (b"access-control-allow-origin", origin), (b"access-control-expose-headers", EXPOSED)])


@pytest.fixture(params=[True, False], ids=["open", "keys"])
def either(request: pytest.FixtureRequest) -> Browsers:
    return Browsers(open_access=request.param, origins=["https://chat.example.com"])


def test_who_is_no_browser_is_told_nothing(either: Browsers) -> None:
    assert admitted(either, host=OURS) == {}
    assert admitted(either) == {}


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (OURS, b"http://127.0.0.1:8420"),
        (b"localhost:8420", b"http://LOCALHOST:8420"),
        (b"localhost", b"http://localhost"),
        (b"localhost:80", b"http://localhost"),
        (b"localhost", b"https://localhost:443"),
        (b"[::1]:8420", b"http://[::1]:8420"),
    ],
)
def test_its_own_page_may_and_needs_no_cors(either: Browsers, host: bytes, origin: bytes) -> None:
    assert admitted(either, host=host, origin=origin, sec_fetch_site=b"same-origin") == {b"vary": b"origin"}


def test_behind_tls_at_a_proxy_its_own_page_is_known() -> None:
    keys = Browsers(open_access=False)
    assert admitted(keys, host=b"ai.example.com", origin=b"https://ai.example.com") == {b"vary": b"origin"}


@pytest.mark.parametrize(
    "origin", [b"https://chat.example.com", b"https://CHAT.example.com", b"https://chat.example.com:443"]
)
def test_a_page_that_is_listed_may(either: Browsers, origin: bytes) -> None:
    assert admitted(either, host=OURS, origin=origin, sec_fetch_site=b"cross-site") == cors(origin)


@pytest.mark.parametrize(
    "origin",
    [
        b"http://chat.example.com",
        b"https://chat.example.com:8443",
        b"https://chat.example.com.evil.example",
        b"https://evil.example",
        b"https://xchat.example.com",
        b"null",
        b"",
        b"file://",
        b"http://127.0.0.1.evil.example:8420",
        b"http://localhost.evil.example",
        b"http://evil.example#http://127.0.0.1:8420",
        b"http://[::1].evil.example",
        b"http://localhost:80@evil.example",
        b"\xff\xfe",
    ],
)
def test_any_other_page_may_not(either: Browsers, origin: bytes) -> None:
    assert refused(either, host=OURS, origin=origin) == "origin_refused"
    assert refused(either, host=OURS, origin=origin, harmless=True) == "origin_refused"


@pytest.mark.parametrize(
    "origin", [b"http://localhost:3000", b"http://127.0.0.1:5173", b"https://app.localhost", b"http://[::1]:3000"]
)
def test_pages_of_this_machine_may_while_access_is_open(origin: bytes) -> None:
    assert admitted(Browsers(open_access=True), host=OURS, origin=origin) == cors(origin)
    assert refused(Browsers(open_access=False), host=OURS, origin=origin) == "origin_refused"


@pytest.mark.parametrize("site", [b"same-origin", b"same-site", b"none"])
def test_a_request_of_this_site_or_of_a_person_passes(site: bytes) -> None:
    assert admitted(Browsers(open_access=True), host=OURS, sec_fetch_site=site) == {}


def test_a_request_of_another_site_passes_only_where_the_answer_is_harmless() -> None:
    browsers = Browsers(open_access=True)
    assert refused(browsers, host=OURS, sec_fetch_site=b"cross-site") == "origin_refused"
    assert admitted(browsers, host=OURS, sec_fetch_site=b"cross-site", harmless=True) == {}
    # With keys the page would need one, and a browser adds none by itself.
    assert admitted(Browsers(open_access=False), host=OURS, sec_fetch_site=b"cross-site") == {}


@pytest.mark.parametrize(
    "host", [OURS, b"localhost", b"LocalHost:1", b"a.localhost:8420", b"[::1]:8420", b"192.168.1.5:8420", b"[fe80::1]"]
)
def test_while_access_is_open_addresses_and_loopback_names_are_known(host: bytes) -> None:
    assert admitted(Browsers(open_access=True), host=host) == {}


@pytest.mark.parametrize(
    "host", [b"evil.example:8420", b"localhost.evil.example", b"127.0.0.1.evil.example", b"penstock", b"[x]"]
)
def test_while_access_is_open_a_name_that_anybody_could_point_here_is_not_known(host: bytes) -> None:
    """DNS rebinding: the page's own name leads to this machine, so that its requests are of the same origin."""
    assert refused(Browsers(open_access=True), host=host) == "unknown_host"
    assert refused(Browsers(open_access=True), host=host, origin=b"http://" + host) == "unknown_host"
    assert admitted(Browsers(open_access=False), host=host) == {}


@pytest.mark.parametrize("open_access", [True, False])
def test_names_that_are_listed_are_known_and_with_keys_no_others(open_access: bool) -> None:
    browsers = Browsers(open_access=open_access, hosts=["AI.example.com"])
    assert admitted(browsers, host=b"ai.example.com:443") == {}
    assert admitted(browsers, host=b"127.0.0.1:8420") == {}
    assert refused(browsers, host=b"other.example.com") == "unknown_host"


def test_what_is_remembered_is_bounded_and_judged_the_same_again() -> None:
    browsers = Browsers(open_access=True)
    for port in range(MOST + 10):
        admitted(browsers, host=b"localhost:%d" % port)
    assert len(browsers._answers) <= MOST
    remembered = len(browsers._answers)
    admitted(browsers, host=b"localhost:" + b"1" * 600)
    assert len(browsers._answers) == remembered
    for _ in range(2):
        assert refused(browsers, host=b"evil.example") == "unknown_host"


def test_a_preflight_names_methods_and_headers() -> None:
    assert preflight(("GET", "DELETE")) == [
        (b"access-control-allow-methods", b"GET, DELETE"),
        (b"access-control-allow-headers", ALLOWED),
        (b"access-control-max-age", b"600"),
    ]
