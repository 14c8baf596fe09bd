"""The library face: one async generator becomes a resumable endpoint on all three transports, inside an app of your own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.auth.grant import PrincipalOf
    from penstock.config.model import Config
    from penstock.core.observer import Observer


class Penstock:
    """An ASGI application to mount: `Mount("/ai", Penstock(answer))`, or `app.mount("/ai", Penstock(answer))`.

    `answer` is an async generator function of `(request)`, `(request, run)` or nothing, which yields text, bytes, dictionaries or
    events; or a mapping of model names to such functions, the first of them the default. Every path of the server is below the
    mount: `/v1/chat/stream`, `/v1/chat/ws`, `/v1/chat/chunked`, `/v1/streams`, …

    Who may come, and from which pages, is the business of the app around it. With `principal`, a function of the ASGI scope
    that names whose a request is (or None for nobody's), a run can be read and cancelled by its own principal alone.

    Raises `ValueError` for something that is not an async generator function.
    """

    def __init__(
        self,
        answer: Callable[..., Any] | Mapping[str, Callable[..., Any]],
        *,
        config: Config | None = None,
        observer: Observer | None = None,
        principal: PrincipalOf | None = None,
    ):
        from penstock.assembly import build
        from penstock.sources.callable import build as callable_source

        answers = answer if isinstance(answer, Mapping) else {getattr(answer, "__name__", "answer"): answer}
        sources = {name: callable_source(function) for name, function in answers.items()}
        self._app = build(config, sources=sources, observer=observer, mounted=True, principal=principal)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)

    async def close(self) -> None:
        """End every run, and say so to their readers."""
        await self._app.close()

    @asynccontextmanager
    async def lifespan(self, app: Any = None) -> AsyncIterator[None]:
        """The lifespan of the app around it: `Starlette(lifespan=penstock.lifespan, …)` ends the runs when the server goes."""
        try:
            yield
        finally:
            await self.close()
