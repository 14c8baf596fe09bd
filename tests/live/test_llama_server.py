"""The fixture itself: the server is real, its endless answer is endless, and leaving it frees the slot."""

import json

import aiohttp
import pytest

from tests.live.llama import ENDLESS, MODEL, processing, serve_llama, slots_idle


def ask(**more: object) -> dict[str, object]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "stream": True, **more}


@pytest.mark.needs("llama")
async def test_it_streams_openai_chunks_to_the_end(llama_server: str) -> None:
    body = ask(max_tokens=12, ignore_eos=True, stream_options={"include_usage": True})
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{llama_server}/chat/completions", json=body) as answer,
    ):
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        blocks = (await answer.read()).split(b"\n\n")
    chunks = [json.loads(block.removeprefix(b"data: ")) for block in blocks[:-2]]
    assert blocks[-2:] == [b"data: [DONE]", b""]
    # No word on the first delta's role: llama.cpp leaves it out when an answer begins with half a character.
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["usage"]["completion_tokens"] == 12
    await slots_idle(llama_server)


@pytest.mark.needs("llama")
async def test_leaving_an_endless_answer_frees_its_slot(llama_server: str) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{llama_server}/chat/completions", json=ask(**ENDLESS)) as answer:
            # More tokens than one slot's context holds: only the context shift lets it speak on.
            for _ in range(2 * 1_100):
                assert await answer.content.readline() != b""
            assert await processing(llama_server) == 1
            answer.close()
        await slots_idle(llama_server)


@pytest.mark.needs("llama")
async def test_a_bad_request_gets_a_real_error_body(llama_server: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{llama_server}/chat/completions", json={"stream": True}) as answer,
    ):
        assert answer.status == 400
        assert (await answer.json())["error"]["type"] == "invalid_request_error"


def test_a_python_without_xllamacpp_is_told_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    broken = tmp_path_factory.mktemp("bin") / "python"
    broken.write_text("#!/bin/sh\necho \"No module named 'xllamacpp'\" >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(RuntimeError, match="No module named 'xllamacpp'"), serve_llama(python=broken):
        raise AssertionError("it started")
