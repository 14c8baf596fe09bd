"""What is told of a configuration: the table of `penstock check`, and the committed reference."""

import re
from pathlib import Path

import msgspec
import pytest

from penstock.config.explain import SECTIONS, address, reference, summary
from penstock.config.load import load, variables
from penstock.config.model import Config
from tests.tools import ROOT

PAGE = ROOT / "docs" / "reference" / "config.md"


def test_the_committed_reference_is_what_the_settings_say() -> None:
    assert PAGE.read_text() == reference(), "make it anew: python -m penstock.config.explain > docs/reference/config.md"


@pytest.mark.parametrize(("heading", "kind"), SECTIONS, ids=[heading for heading, _ in SECTIONS])
def test_the_reference_describes_every_setting(heading: str, kind: type[msgspec.Struct]) -> None:
    (section,) = re.findall(rf"^### `{re.escape(heading)}`$(.*?)(?=^##)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    described = re.findall(r"^\| `(\w+)` \| .* \| (.+) \|$", section, re.MULTILINE)
    assert [name for name, _ in described][: len(kind.__struct_fields__)] == list(kind.__struct_fields__)


def test_every_section_of_the_configuration_is_in_the_reference() -> None:
    headings = {heading.strip("[]").partition(".")[0] for heading, _ in SECTIONS}
    assert headings == set(Config.__struct_fields__)


def test_the_example_of_the_reference_is_a_valid_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    file = tmp_path_factory.mktemp("example") / "penstock.toml"
    file.write_text(example)
    config = load({}, file=file)
    assert (config.server.port, config.models["fast"].targets) == (9000, ("local/qwen3",))


def test_every_variable_of_ours_sets_what_it_names() -> None:
    known = variables()
    assert {"PENSTOCK_PORT", "PENSTOCK_SERVER__PORT", "PENSTOCK_LIMITS__FIRST_TOKEN", "PENSTOCK_LOG__LEVEL"} <= set(
        known
    )
    assert len(known) == len(set(known))


def test_the_summary_names_routes_models_and_providers_and_no_secret() -> None:
    environ = {
        "OPENAI_API_KEY": "sk-canary",
        "PENSTOCK_MODEL": "http://127.0.0.1:8081/v1#qwen3",
        "PENSTOCK_PORT": "9000",
    }
    text = summary(load(environ), file=None)
    assert "sk-canary" not in text
    lines = [re.sub(r" {2,}", " | ", line.strip()) for line in text.splitlines()]
    assert [
        line for line in lines if line.startswith(("address", "POST GET | /v1/chat", "qwen3", "demo", "openai"))
    ] == [
        "address | http://127.0.0.1:9000",
        "POST GET | /v1/chat/stream | sse | openai-chat | qwen3 | grace 1m | pause",
        "qwen3 | → http://127.0.0.1:8081/v1#qwen3",
        "demo | needs no key",
        "openai/… | any model of this provider",
        "openai | https://api.openai.com/v1 | speaks openai | with a key",
    ]


def test_the_summary_says_by_which_names_several_targets_are_known(tmp_path: Path) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text(
        '[models.steady]\ntargets = ["http://10.0.0.1/v1#qwen3", "http://10.0.0.2/v1#qwen3", "demo"]\n'
        '[models.all]\ntargets = ["steady", "demo"]\n'
    )
    lines = [line.strip() for line in summary(load({}, file=file), file=None).splitlines()]
    assert "steady  → qwen3 (http://10.0.0.1/v1#qwen3), qwen3-2 (http://10.0.0.2/v1#qwen3), demo" in lines
    assert "all     → steady, demo" in lines


def test_an_ipv6_address_has_brackets_in_a_url() -> None:
    assert [address("::1", 1, tls=True), address("127.0.0.1", 2, tls=False)] == [
        "https://[::1]:1",
        "http://127.0.0.1:2",
    ]
