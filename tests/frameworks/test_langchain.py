"""langchain's own standard tests for its OpenAI and Anthropic models, on a penstock: tools, structured output, pictures, sound.

None is left out in silence.
"""

import asyncio
import os
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from penstock.config.model import Config
from penstock.config.models import ModelConfig
from penstock.sources.callable import build
from tests.fakes.model import model, steps
from tests.fakes.provider import Provider
from tests.frameworks.asking import ENVIRON
from tests.serving import serving
from tests.tools import venv_python

SUITE = Path(__file__).with_name("langchain_suite.py")
SETTINGS = (
    "asyncio_mode=auto",
    "asyncio_default_test_loop_scope=session",
    "asyncio_default_fixture_loop_scope=session",
)
NOT_FOR_US = {
    "test_anthropic_inputs": "Model does not explicitly support Anthropic inputs.",
    "test_pdf_tool_message": "Model does not support PDF tool message.",
    "test_stream_time": "VCR not set up.",
}
"""What langchain-openai itself is not tested with, by langchain either."""

pytestmark = pytest.mark.needs("langchain")


async def outcomes(url: str, folder: Path, *only: str) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Which of the standard tests failed and why, which were skipped and why, and which passed."""
    report = folder / "report.xml"
    process = await asyncio.create_subprocess_exec(
        str(venv_python("langchain")),
        *("-m", "pytest", "-q", "-c", os.devnull, "--noconftest", "--rootdir", str(folder), "-p", "no:cacheprovider"),
        *("--benchmark-disable", "--junit-xml", str(report), "-k", " or ".join(only)),
        *(word for setting in SETTINGS for word in ("-o", setting)),
        str(SUITE),
        env={**dict(ENVIRON), "PENSTOCK_URL": url},
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    words, _ = await process.communicate()
    assert report.exists(), words.decode()
    failed, skipped, passed = {}, {}, []
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        faults = [each for each in case if each.tag in ("failure", "error")]
        if faults:
            failed[name] = str(faults[0].get("message"))
        elif (skip := case.find("skipped")) is not None:
            skipped[name.rpartition("::")[2]] = str(skip.get("message"))
        else:
            passed.append(name)
    return failed, skipped, passed


def two_models(provider: Provider) -> Config:
    """The model of the suite, and the one it asks for by name."""
    names = ("model", "another")
    return Config(models={name: ModelConfig(targets=(f"{provider.base_url}#{name}",)) for name in names})


async def test_every_standard_test_of_langchain_openai_passes(provider: Provider, tmp_path: Path) -> None:
    provider.unscripted = steps
    async with serving(two_models(provider)) as served:
        failed, skipped, passed = await outcomes(served.url, tmp_path, "TestOpenAI and not Unit")
        streamed = {handle.request.stream for handle in served.runs.by_id.values()}
    assert failed == {}
    assert skipped == NOT_FOR_US
    assert len(passed) > 80
    asked = [request.json for request in provider.requests]
    assert streamed == {True, False}
    seen = {kind for each in asked for kind in ("tools", "tool_choice", "response_format", "stop") if kind in each}
    assert seen == {"tools", "tool_choice", "response_format", "stop"}
    parts = {
        part["type"]
        for each in asked
        for message in each["messages"]
        for part in (message["content"] if isinstance(message.get("content"), list) else ())
    }
    assert parts == {"text", "image_url", "input_audio", "file"}


async def test_a_model_of_your_own_is_as_good_as_a_provider(tmp_path: Path) -> None:
    source = build(model)
    sources = dict.fromkeys(("model", "another"), source)
    async with serving(sources=sources) as served:
        failed, _, passed = await outcomes(served.url, tmp_path, "not ByTools")
        assert len(served.runs.by_id) > 90
    assert failed == {}
    assert len(passed) > 100


async def test_langchain_anthropic_reads_a_model_that_speaks_openai(provider: Provider, tmp_path: Path) -> None:
    provider.unscripted = steps
    async with serving(two_models(provider)) as served:
        failed, skipped, passed = await outcomes(served.url, tmp_path, "TestAnthropic")
    assert failed == {}
    assert skipped == {
        "test_audio_inputs": "Model does not support audio inputs.",
        "test_json_mode": "Test requires json mode support.",
        "test_stream_time": "VCR not set up.",
    }
    assert len(passed) > 40
