"""Who is let in by the admin REST while its neighbours guess tokens."""

import pytest
from fastapi import Request

from presence_core.adapters.rest.access import FAILURES, REMEMBERED, WINDOW, Gate
from presence_core.adapters.rest.problems import RestError
from vedette.store.api_tokens import Role, Token


def request(token: str) -> Request:
    """From the one address of a proxy that all callers are behind."""
    headers = [(b"authorization", f"Bearer {token}".encode())]
    return Request({"type": "http", "client": ("127.0.0.1", 40000), "headers": headers})


class Door:
    """A gate with a clock and tokens of the test."""

    def __init__(self) -> None:
        self.now = 0.0
        self.tokens = {name: Token(name, name, Role.READER, None) for name in ("known", "new")}
        self._gate = Gate(self._find, is_open=False, clock=lambda: self.now)

    async def _find(self, text: str) -> Token | None:
        return self.tokens.get(text)

    async def ask(self, token: str) -> int:
        """The status of what is asked for with that token."""
        try:
            await self._gate.admit(request(token), Role.READER, whole_system=False)
        except RestError as error:
            return error.problem.status
        return 200


@pytest.fixture
def door() -> Door:
    return Door()


async def test_who_was_right_goes_on_while_others_behind_the_same_address_guess(door: Door) -> None:
    assert await door.ask("known") == 200
    assert [await door.ask("wrong") for _ in range(FAILURES + 1)] == [401] * FAILURES + [429]
    for _ in range(3):
        door.now += REMEMBERED + 1
        assert await door.ask("known") == 200
    assert await door.ask("new") == 429
    door.now = WINDOW + 1
    assert await door.ask("new") == 200


async def test_a_token_that_was_right_and_is_revoked_counts_as_a_wrong_one(door: Door) -> None:
    assert await door.ask("known") == 200
    del door.tokens["known"]
    assert await door.ask("known") == 200
    door.now += REMEMBERED + 1
    assert [await door.ask("known") for _ in range(FAILURES + 1)] == [401] * FAILURES + [429]
