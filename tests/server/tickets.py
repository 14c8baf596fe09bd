"""An authenticator as a third party would write one."""

from collections.abc import Mapping
from typing import Any

from penstock.auth.grant import Grant
from penstock.core.errors import Refused
from penstock.core.request import Principal


class Tickets:
    """Lets in whoever says `ticket NAME`."""

    async def authenticate(self, credential: str, scope: Mapping[str, Any]) -> Grant:
        word, _, name = credential.partition(" ")
        if word != "ticket" or not name:
            raise Refused("unauthenticated", "show a ticket")
        return Grant(principal=Principal(name))

    def standing(self, grant: Grant) -> Grant | None:
        return grant
