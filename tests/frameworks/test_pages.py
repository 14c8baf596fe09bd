"""The lines that the pages about frameworks give, typed as they stand, print the answer."""

import pytest

from penstock.config.model import Config, DemoConfig
from tests.clients.program import program
from tests.docs.pages import Snippet, snippets
from tests.examples.hosting import penstock_serve
from tests.tools import venv_python

ENVIRONMENTS = {"langchain.md": "langchain", "llama-index.md": "llamaindex", "aider.md": "litellm"}
LINES = [
    pytest.param(each, environment, id=str(each), marks=pytest.mark.needs(environment))
    for each in snippets("python")
    if (environment := ENVIRONMENTS.get(each.page.removeprefix("docs/howto/")))
]


@pytest.mark.parametrize(("snippet", "environment"), LINES)
async def test_the_lines_of_a_page_print_the_answer(snippet: Snippet, environment: str) -> None:
    async with penstock_serve(Config(demo=DemoConfig(rate=0, tokens=20))) as url:
        code = snippet.text.replace("http://127.0.0.1:8420", url)
        async with program(
            venv_python(environment), "-c", code, environ={"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        ) as shown:
            assert await shown.ended() == 0
    assert "You said: **Hello**." in shown.text
