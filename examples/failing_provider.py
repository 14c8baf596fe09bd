"""What does an app make of a provider that dies in mid-sentence? A provider that does so when told, on a port of its own.

python examples/failing_provider.py
"""

import asyncio
import json

import aiohttp

from penstock.testing.script import Cut, Reply, answer, opening, text
from penstock.testing.upstream import Provider


async def ask(base_url: str) -> str:
    """Stands for your app: it asks a model, and says how that went."""
    question = {"model": "fake", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    words = ""
    async with aiohttp.ClientSession(base_url) as session, session.post("chat/completions", json=question) as told:
        if told.status != 200:
            return f"{told.status}, again in {told.headers['Retry-After']} s"
        try:
            async for line in told.content:
                if line.startswith(b"data: {"):
                    words += json.loads(line[6:])["choices"][0]["delta"].get("content", "")
        except aiohttp.ClientPayloadError:
            return f"cut after {words!r}"
    return words


async def main() -> None:
    async with Provider().listening() as provider:
        provider.script(opening(), text("Half an ans"), Cut())
        provider.script(Reply(status=429, headers={"Retry-After": "2"}, body={"error": {"message": "slow down"}}))
        provider.script(answer("A whole", " answer."))
        for _ in range(3):
            print(await ask(f"{provider.base_url}/"))
        print(provider.requests[0].json["messages"])


if __name__ == "__main__":
    asyncio.run(main())
