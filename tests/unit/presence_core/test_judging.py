"""Decisions about watchers, judged again where other rules hold by now."""

from collections.abc import Sequence

import pytest

from presence_core.domain.policy import Policy
from presence_core.domain.subscribe import SubscribeCommand, SubscribeVerdict, plan_subscribe
from presence_core.flows.judging import Judging
from tests.integration.calls import ALICE, BOB, subscribe
from vedette.identity import Presentity
from vedette.rules.permissions import Handling
from vedette.rules.ruling import NO_RULES, Defaults, Rulebook
from vedette.store.database import StoreError, StoreUnavailableError, StoreUndecidedError

POLICY = Policy(secret=b"s" * 32)
STORED = SubscribeVerdict("created", 600)
UNJUDGED = SubscribeVerdict("unjudged", 0)


class Store:
    """Gives one round of verdicts after the other; a round may be an error."""

    def __init__(self, *rounds: list[SubscribeVerdict] | StoreError) -> None:
        self.rounds = list(rounds)
        self.asked: list[int] = []

    async def apply(self, commands: list[SubscribeCommand]) -> list[SubscribeVerdict]:
        self.asked.append(len(commands))
        answer = self.rounds.pop(0)
        if isinstance(answer, StoreError):
            raise answer
        return answer


class Books:
    """Nobody has rules."""

    def known(self, presentity: Presentity) -> Rulebook:
        return NO_RULES

    async def load(self, presentities: Sequence[Presentity]) -> dict[Presentity, Rulebook]:
        return dict.fromkeys(presentities, NO_RULES)

    async def current(self, presentities: Sequence[Presentity]) -> None:
        return None


def judging(store: Store) -> Judging:
    async def spheres(_: Sequence[Presentity]) -> dict[Presentity, str | None]:
        return {}

    return Judging(store.apply, Books(), Defaults(default_rule=Handling.ALLOW), spheres=spheres, clock=lambda: 0.0)


def commands() -> list[SubscribeCommand]:
    planned = [plan_subscribe(subscribe(presentity), POLICY) for presentity in (ALICE, BOB)]
    return [command for command in planned if isinstance(command, SubscribeCommand)]


async def test_what_was_judged_by_old_rules_is_judged_again_alone() -> None:
    store = Store([STORED, UNJUDGED], [STORED])
    assert await judging(store).apply(commands()) == [STORED, STORED]
    assert store.asked == [2, 1]


async def test_nobody_is_told_that_nothing_is_stored_where_the_first_round_is() -> None:
    store = Store([STORED, UNJUDGED], StoreUnavailableError("gone"))
    with pytest.raises(StoreUndecidedError, match="gone"):
        await judging(store).apply(commands())


async def test_a_store_that_is_away_from_the_beginning_is_surely_unavailable() -> None:
    with pytest.raises(StoreUnavailableError):
        await judging(Store(StoreUnavailableError("away"))).apply(commands())
