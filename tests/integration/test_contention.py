"""Replicas that want the same presentities at the same time: one wins, nobody is deadlocked, nothing is mixed up."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from notifier.domain.outcome_policy import settle
from tests.dialog_info import TYPE as DIALOG_INFO_TYPE
from tests.dialog_info import call, dialogs
from tests.integration.calls import ALICE, in_dialog, publish, subscribe
from tests.integration.replicas import POLICY, Answer, Core, DialogStore, MakeCore, MakeNotifier, Sql
from tests.phone import pidf
from vedette.rpc.contract import Outcome, SubscribeCall
from vedette.store.database import Database

BATCHES = 3000
REPLICAS = 6
PRESENTITIES = [f"sip:user{number}@example.com" for number in range(24)]


@pytest.fixture(params=["postgres", "redis"])
def dialogs_in(request: pytest.FixtureRequest) -> str:
    """Every test of this module holds for both (`fallback2db`)."""
    return str(request.param)


@pytest.fixture
async def other(database_url: str, make_core: MakeCore) -> AsyncIterator[Core]:
    """Another replica of presence-core, with connections of its own."""
    database = Database(database_url, size=4, name="other")
    yield make_core(POLICY, database)
    await database.close()


@pytest.mark.parametrize("kind", ["refresh", "modify", "remove", "refresh against remove"])
async def test_pub_06_two_replicas_race_on_one_tag(core: Core, other: Core, sql: Sql, kind: str) -> None:
    """One wins, the other one gets 412; the winner's copy gets the winner's answer from either replica."""
    for race in range(10):
        uri = f"sip:race{race}@example.com"
        created = await core.publish_one(publish(uri))
        modify = {"etag": created.etag, "body": pidf(uri, note="one")}
        first, second = {
            "refresh": (publish(uri, etag=created.etag), publish(uri, etag=created.etag, expires=60)),
            "modify": (publish(uri, **modify), publish(uri, etag=created.etag, body=pidf(uri, note="two"))),  # type: ignore[arg-type]
            "remove": (publish(uri, etag=created.etag, expires=0), publish(uri, etag=created.etag, expires=0)),
            "refresh against remove": (publish(uri, etag=created.etag), publish(uri, etag=created.etag, expires=0)),
        }[kind]
        answers = await asyncio.gather(core.publish_one(first), other.publish_one(second))
        assert sorted(answer.status for answer in answers) == [200, 412]
        winner, call = (answers[0], first) if answers[0].status == 200 else (answers[1], second)
        loser = second if call is first else first
        for replica in (core, other):
            assert (await replica.publish_one(call)).reply == winner.reply
            assert (await replica.publish_one(loser)).status == 412
        rows = await sql.fetch("SELECT etag, granted FROM presentity WHERE presentity_uri = $1", uri)
        assert [tuple(row) for row in rows] == [(winner.etag, winner.expires)]


async def test_two_replicas_race_on_one_dialog(core: Core, other: Core, sql: Sql) -> None:
    for _ in range(10):
        call = subscribe()
        created = await core.subscribe_one(call)
        first, second = (in_dialog(call, created.to_tag, cseq=2, expires=expires) for expires in (60, 90))
        answers = await asyncio.gather(core.subscribe_one(first), other.subscribe_one(second))
        assert sorted(answer.status for answer in answers) == [200, 500]
        winner = answers[0] if answers[0].status == 200 else answers[1]
        row = await sql.fetchrow("SELECT granted, revision FROM active_watchers WHERE callid = $1", call.call_id)
        assert tuple(row or ()) == (winner.expires, 2)


async def test_pub_19_a_hundred_at_once_are_taken_one_after_the_other(core: Core, other: Core, sql: Sql) -> None:
    created = await core.publish_one(publish())
    calls = [publish(etag=created.etag, body=pidf(ALICE, note=str(number))) for number in range(50)]
    fresh = [publish(body=pidf(ALICE, note=f"fresh {number}")) for number in range(50)]
    pairs = [call for pair in zip(calls, fresh, strict=True) for call in pair]
    answers = await asyncio.gather(*((core, other)[i % 2].publish_one(call) for i, call in enumerate(pairs)))
    assert Counter(answer.verdict for answer in answers) == {"created": 50, "modified": 1, "unmatched": 49}
    versions = [answer.version for answer in answers if answer.version is not None]
    assert len(set(versions)) == 51
    # Each of them saw all that had been there before it, and nothing of what came after.
    by_version = sorted((answer for answer in answers if answer.version), key=lambda answer: answer.version or 0)
    alive = {created.version}
    for answer in by_version:
        seen = {version for _, version in answer.others}
        assert seen == (alive - {created.version} if answer.verdict == "modified" else alive)
        alive = (alive - {created.version} if answer.verdict == "modified" else alive) | {answer.version}
    assert await sql.fetchval("SELECT version FROM presentity_state") == max(versions)


class Load:
    """What the replicas do to the same few presentities, each batch in an order of its own."""

    def __init__(self, core: Core, notifier: DialogStore, dice: random.Random) -> None:
        self.core = core
        self.notifier = notifier
        self.dice = dice
        self.tags: dict[str, str] = {}
        self.dialogs: list[tuple[SubscribeCall, str, int]] = []
        self.verdicts: Counter[str] = Counter()

    def count(self, answers: list[Answer]) -> None:
        self.verdicts.update(answer.verdict for answer in answers)

    async def publish(self) -> None:
        """Like the flow: no presentity twice in a batch. The tags are shared by nobody, the presentities by all."""
        uris = self.dice.sample(PRESENTITIES, 12)
        calls = [
            publish(
                uri,
                etag=self.tags.get(uri),
                expires=0 if uri in self.tags and self.dice.random() < 0.2 else 3600,
                body=pidf(uri, note=str(self.dice.random())),
            )
            for uri in uris
        ]
        calls += [
            publish(
                uri,
                event="dialog",
                body=dialogs(call("confirmed", str(self.dice.random()))),
                content_type=DIALOG_INFO_TYPE,
                expires=self.dice.choice([1, 3600]),
            )
            for uri in self.dice.sample(PRESENTITIES, 4)
        ]
        calls += [publish(f"sip:nobody{self.dice.random()}@example.com", etag=f"{'ab' * 16}.1") for _ in range(2)]
        answers = await self.core.publish(*calls)
        for uri, answer in zip(uris, answers, strict=False):
            self.tags[uri] = answer.etag
            if answer.verdict == "removed":
                del self.tags[uri]
        self.count(answers)

    async def subscribe(self) -> None:
        calls = [subscribe(uri, expires=self.dice.choice([0, 3600])) for uri in self.dice.sample(PRESENTITIES, 6)]
        later = []
        for _ in range(min(6, len(self.dialogs))):
            first, to_tag, cseq = self.dialogs.pop(self.dice.randrange(len(self.dialogs)))
            later.append((in_dialog(first, to_tag, cseq=cseq, expires=self.dice.choice([0, 60])), first, cseq))
        batch = calls + [call for call, _, _ in later]
        order = self.dice.sample(range(len(batch)), len(batch))
        answers = await self.core.subscribe(*(batch[index] for index in order))
        by_call = {batch[index].call_id: answer for index, answer in zip(order, answers, strict=True)}
        self.dialogs += [(call, by_call[call.call_id].to_tag, 2) for call in calls if call.expires != "0"]
        self.dialogs += [(first, call.to_tag, cseq + 1) for call, first, cseq in later if call.expires != "0"]
        self.count(answers)

    async def notify(self) -> None:
        claims = await self.notifier.claim(50, 100)
        self.verdicts["claimed"] += len(claims)
        self.dice.shuffle(claims)
        outcomes = [
            (outcome, settle(outcome.status, outcome.retry_after))
            for outcome in (
                Outcome(
                    claim.presentity_hash, claim.dialog_id, claim.cseq, self.dice.choice([200, 200, 200, 481, 500])
                )
                for claim in claims
            )
        ]
        if outcomes:
            await self.notifier.apply(outcomes)

    async def expire(self) -> None:
        await self.notifier.expire(50)

    async def sweep(self) -> None:
        await self.notifier.sweep(0.2, 200)

    async def clear(self) -> None:
        await self.notifier.clear_marks(["notifier-0"], 50, 0.0)

    async def rehome(self) -> None:
        await self.notifier.rehome("edge-1", "edge-1", "127.0.0.1:1", 20)


async def test_3000_contended_batches_make_no_deadlock(
    database_url: str, sql: Sql, make_core: MakeCore, make_notifier: MakeNotifier
) -> None:
    done: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    kinds = {"publish": 8, "subscribe": 6, "notify": 6, "expire": 2, "sweep": 2, "clear": 1, "rehome": 1}

    def mixes_calls(number: int) -> bool:
        """As while the replicas are started again with another value."""
        return number % 3 != 0

    async def replica(number: int) -> None:
        dice = random.Random(number)
        database = Database(database_url, size=1, name=f"load {number}")
        stack.push_async_callback(database.close)
        policy = replace(POLICY, mix_dialog_presence=mixes_calls(number))
        notifier = make_notifier(f"notifier-{number}", database, mixes_calls=mixes_calls(number))
        load = Load(make_core(policy, database), notifier, dice)
        while done.total() < BATCHES:
            kind = dice.choices(list(kinds), list(kinds.values()))[0]
            done[kind] += 1
            await getattr(load, kind)()
        verdicts.update(load.verdicts)

    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        for number in range(REPLICAS):
            group.create_task(replica(number))
    assert done.total() >= BATCHES
    assert set(done) == kinds.keys()
    # It was a fight over living things, not a walk over an empty field.
    for verdict in ("created", "modified", "removed", "unmatched", "fetched", "refreshed", "ended", "claimed"):
        assert verdicts[verdict] > 100, verdicts
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    await sql.execute("SELECT pg_stat_clear_snapshot()")
    assert await sql.fetchval(deadlocks) == 0
    orphans = await sql.fetchval(
        "SELECT count(*) FROM delivery AS d WHERE NOT EXISTS "
        "(SELECT FROM active_watchers AS w WHERE (w.presentity_hash, w.dialog_id) = (d.presentity_hash, d.dialog_id))"
    )
    assert orphans == 0
