"""Who may see what: rules and decisions by hand, from the SUBSCRIBE to the NOTIFY (RFC 4745, RFC 5025, RFC 3857)."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from notifier.domain.outcome_policy import settle
from tests.integration.calls import ALICE, in_dialog, publish, subscribe
from tests.integration.replicas import OPEN, POLICY, Connection, DialogStore, MakeCore, MakeNotifier, Sql
from tests.integration.watching import ALICES, Watching, rule, ruleset, watch, with_sphere
from tests.phone import pidf, token
from tests.servers import Servers
from tests.watcherinfo import read
from vedette.identity import presentity, presentity_hash
from vedette.rpc.contract import Outcome
from vedette.rules.document import Unreadable
from vedette.rules.packages import DialogRule
from vedette.rules.permissions import Handling
from vedette.rules.ruling import Defaults
from vedette.store.authorization import decide_by_hand, decisions, delete_rules, documents, put_rules
from vedette.store.database import Database
from vedette.store.hash_tables import HashTable
from vedette.store.redis_link import RedisLink

WINFO = "presence.winfo"
ASKING = replace(OPEN, default_rule=Handling.CONFIRM)
BOTH = pytest.mark.parametrize("dialogs_in", ["postgres", "redis"], indirect=True)
"""Holds wherever the dialogs are (`fallback2db`)."""

MakeWatching = Callable[..., Watching]


@pytest.fixture
async def published(servers: Servers) -> AsyncIterator[HashTable]:
    """A cache that knows nothing yet."""
    link = RedisLink(servers.redis.url().replace("db=0", "db=4"))
    await link.client.flushdb()
    yield HashTable(link, "pres", 2)
    await link.close()


@pytest.fixture
def make_watching(
    make_core: MakeCore, notifier: DialogStore, database: Database, published: HashTable
) -> MakeWatching:
    """Makes a core and a notifier with these defaults."""

    def make(defaults: Defaults = OPEN, *, suppress_unchanged: bool = True) -> Watching:
        core = make_core(POLICY, defaults=defaults)
        return Watching(core, notifier, database, published, defaults=defaults, suppress_unchanged=suppress_unchanged)

    return make


@pytest.fixture
def alice(make_watching: MakeWatching) -> Watching:
    """Alice, whom everybody may watch unless her rules say otherwise."""
    return make_watching()


async def noted(sql: Sql, event: str = "presence") -> dict[str, tuple[int, str]]:
    """What `watchers` says of those of example.net."""
    rows = await sql.fetch("SELECT * FROM watchers WHERE presentity_uri = $1 AND event = $2", ALICE, event)
    return {row["watcher_username"]: (row["status"], row["reason"]) for row in rows}


async def dialogs(sql: Sql) -> dict[str, tuple[int, str, str]]:
    """Status, reason and event of each watcher's dialog that has not ended."""
    rows = await sql.fetch("SELECT * FROM active_watchers WHERE presentity_uri = $1 AND ended IS NULL", ALICE)
    return {row["watcher_username"]: (row["status"], row["reason"], row["status_event"]) for row in rows}


# at the SUBSCRIBE


@BOTH
async def test_pol_08_to_11_prs_06_sub_10_each_handling_has_its_answer_and_its_notify(
    alice: Watching, sql: Sql
) -> None:
    await alice.core.publish_one(publish(body=pidf(note="here")))
    await alice.put(
        ruleset(rule("allow", "a"), rule("polite-block", "p"), rule("confirm", "c"), rule("block", "b")), ALICES
    )
    answers = {name: await alice.watch(name) for name in "apcbx"}
    assert {name: answer.status for name, answer in answers.items()} == {
        "a": 200,
        "p": 200,
        "c": 200,
        "b": 403,
        "x": 403,
    }
    (allowed,), (polite,), (pending,) = (alice.sent(name) for name in "apc")
    assert (allowed.state, b"here" in allowed.body) == ("active", True)
    assert (polite.state, b"closed" in polite.body, b"here" in polite.body) == ("active", True, False)
    assert (pending.state, pending.body) == ("pending", b"")
    assert await dialogs(sql) == {
        "a": (1, "", "subscribe"), "p": (1, "polite-block", "subscribe"), "c": (2, "", "subscribe"),
    }  # fmt: skip


async def test_decisions_are_noted_but_not_what_needed_none(alice: Watching, sql: Connection) -> None:
    await alice.watch("early")
    assert await noted(sql) == {}
    await alice.put(ruleset(rule("allow", "a", "early"), rule("confirm", "c"), rule("block", "b")), ALICES)
    for name in "acb":
        await alice.watch(name)
    assert await noted(sql) == {"a": (1, ""), "c": (2, ""), "b": (3, "rejected")}
    assert [row.watcher[0] for row in await decisions(alice.database, *ALICES)] == ["a", "c", "b"]


@BOTH
async def test_parameter_default_rule_decides_where_there_are_no_rules(make_watching: MakeWatching) -> None:
    expected = {
        Handling.ALLOW: (200, ["active+"]),
        Handling.POLITE_BLOCK: (200, ["active+"]),
        Handling.CONFIRM: (200, ["pending"]),
        Handling.BLOCK: (403, None),
    }
    for handling, (status, states) in expected.items():
        watching = make_watching(replace(OPEN, default_rule=handling))
        name = handling.text
        assert (await watching.watch(name)).status == status
        if states is not None:
            assert watching.states(name) == states


@BOTH
async def test_parameter_force_active_asks_no_rules(make_watching: MakeWatching, sql: Sql) -> None:
    forced = make_watching(replace(ASKING, force_active=True))
    await forced.core.publish_one(publish(body=pidf(note="here")))
    await forced.put(ruleset(rule("block")), ALICES)
    assert (await forced.watch("bob")).status == 200
    (sent,) = forced.sent("bob")
    assert (sent.state, b"here" in sent.body) == ("active", True)
    await decide_by_hand(forced.database, ALICES, ("bob", "example.net"), Handling.BLOCK)
    await forced.deliver()
    assert forced.sent("bob") == []


@pytest.mark.parametrize(
    ("dialog_rule", "domain", "status"),
    [("same-domain", "example.com", 200), ("same-domain", "example.net", 403), ("allow", "example.net", 200)],
)
async def test_parameter_dialog_rule_says_who_sees_calls(
    make_watching: MakeWatching, dialog_rule: DialogRule, domain: str, status: int
) -> None:
    watching = make_watching(replace(OPEN, dialog_rule=dialog_rule))
    call = subscribe(event="dialog", from_uri=f"sip:bob@{domain}")
    assert (await watching.core.subscribe_one(call)).status == status


@BOTH
async def test_own_mailbox_and_own_watchers_only_unless_rules_name_others(alice: Watching) -> None:
    for event in ("message-summary", WINFO):
        assert (await alice.watch("bob", watch("bob", event=event))).status == 403
        own = await alice.watch("alice", subscribe(event=event, from_uri=ALICE))
        assert own.status == (202 if event == WINFO else 200)
        await alice.put(ruleset(rule("allow", "bob")), presentity(ALICE, event))
        assert (await alice.watch("bob", watch("bob", event=event))).status == own.status
        assert alice.states("bob") == ["active+"]


async def test_pol_04_who_is_anonymous_matches_no_identity(alice: Watching) -> None:
    await alice.put(ruleset(rule("allow", conditions="<identity><many/></identity>")), ALICES)
    nobody = subscribe(from_uri="sip:anonymous@anonymous.invalid")
    assert (await alice.watch("nobody", nobody)).status == 403
    assert (await alice.watch("bob")).status == 200


async def test_pol_29_stored_rules_that_cannot_be_read_let_nobody_in(alice: Watching, sql: Connection) -> None:
    await alice.put(ruleset(rule("allow")), ALICES)
    await alice.watch("bob")
    alice.sent("bob")
    await sql.execute("UPDATE xcap SET doc = 'broken'")
    await sql.execute("SELECT rules_changed_v1($1, $2, $3, NULL, NULL)", *ALICES)
    await alice.deliver()
    assert alice.states("bob") == ["terminated;reason=rejected"]
    assert (await alice.watch("carol")).status == 403


async def test_a_document_that_cannot_be_used_is_not_stored(alice: Watching) -> None:
    found = await put_rules(alice.database, ALICES, ruleset(rule("perhaps")))
    assert isinstance(found, Unreadable)
    assert found.line == 1
    assert await documents(alice.database, ALICES.hash, ALICE) == []


async def test_pol_27_all_documents_count(alice: Watching) -> None:
    await alice.put(ruleset(rule("allow", "bob")), ALICES)
    await alice.put(ruleset(rule("allow", "carol")), ALICES, name="others")
    assert [(await alice.watch(name)).status for name in ("bob", "carol", "dave")] == [200, 200, 403]
    assert [item.name for item in await documents(alice.database, ALICES.hash, ALICE)] == ["index", "others"]


async def test_entity_tags_guard_a_document(alice: Watching) -> None:
    first = await alice.put(ruleset(rule("allow")), ALICES)
    assert first.verdict == "created"
    again = await put_rules(alice.database, ALICES, ruleset(rule("block")), if_match="")
    assert not isinstance(again, Unreadable)
    assert (again.verdict, again.etag) == ("unmatched", first.etag)
    assert (await delete_rules(alice.database, ALICES, if_match="another")).verdict == "unmatched"
    assert (await delete_rules(alice.database, ALICES, if_match=first.etag)).verdict == "removed"
    assert (await delete_rules(alice.database, ALICES)).verdict == "absent"


async def test_rules_for_calls_are_in_force_for_lines_and_shared_lines_in_one_step(
    alice: Watching, sql: Connection
) -> None:
    both = [presentity(ALICE, "dialog"), presentity(ALICE, "dialog;sla")]
    written = await asyncio.gather(
        *(put_rules(alice.database, both[n % 2], ruleset(rule("allow", f"w{n}"))) for n in range(8))
    )
    assert not any(isinstance(item, Unreadable) for item in written)
    rows = await sql.fetch("SELECT event, doc, xmin::text FROM xcap WHERE presentity_uri = $1 ORDER BY event", ALICE)
    assert [row["event"] for row in rows] == ["dialog", "dialog;sla"]
    assert rows[0]["doc"] == rows[1]["doc"]
    assert rows[0]["xmin"] == rows[1]["xmin"], "one transaction"
    assert (await delete_rules(alice.database, both[1])).verdict == "removed"
    assert await sql.fetchval("SELECT count(*) FROM xcap WHERE presentity_uri = $1", ALICE) == 0


async def test_rules_of_somebody_whom_nobody_watches_leave_no_other_row(alice: Watching, sql: Connection) -> None:
    await alice.put(ruleset(rule("allow")), ALICES)
    await delete_rules(alice.database, ALICES)
    await decide_by_hand(alice.database, ALICES, ("bob", "example.net"), Handling.ALLOW)
    for table in ("presentity_state", "change_event", "active_watchers"):
        assert await sql.fetchval(f"SELECT count(*) FROM {table}") == 0


# what is shown


async def test_not_24_watchers_of_one_outcome_share_one_composition(alice: Watching) -> None:
    """A thousand watchers in three groups: three documents are made for each state, not a thousand."""
    service = "<pr:provide-services><pr:all-services/></pr:provide-services>"
    await alice.put(
        ruleset(
            rule("allow", conditions='<identity><many domain="a.example"/></identity>', id_="a"),
            rule("allow", conditions='<identity><many domain="b.example"/></identity>', shows=service, id_="b"),
            rule("polite-block", conditions='<identity><many domain="c.example"/></identity>', id_="c"),
        ),
        ALICES,
    )
    await alice.core.publish_one(publish(body=pidf(note="one")))
    calls = [subscribe(from_uri=f"sip:w{number}@{'abc'[number % 3]}.example") for number in range(1000)]
    answers = [
        answer for start in range(0, 1000, 200) for answer in await alice.core.subscribe(*calls[start : start + 200])
    ]
    await alice.deliver()
    assert alice.views.compositions == 3
    alice.edge.sent.clear()
    await alice.core.publish_one(publish(body=pidf(note="two", tuple_id="t2")))
    await alice.deliver()
    assert alice.views.compositions == 5, "who is politely blocked sees what he saw"
    told = [alice.edge.sent.get(answer.dialog_id, []) for answer in answers]
    assert [len(told[place]) for place in range(3)] == [1, 1, 0]
    assert [sum(len(sent) for sent in told[place::3]) for place in range(3)] == [334, 333, 0]
    assert b"two" in told[0][0].body
    assert b"two" not in told[1][0].body


@pytest.mark.parametrize("suppress", [True, False])
async def test_pol_10_prs_08_a_politely_blocked_watcher_cannot_tell_that_something_changed(
    make_watching: MakeWatching, *, suppress: bool
) -> None:
    alice = make_watching(suppress_unchanged=suppress)
    await alice.put(ruleset(rule("polite-block")), ALICES)
    first = watch("bob")
    answer = await alice.watch("bob", first)
    (offline,) = alice.sent("bob")
    etag = (await alice.core.publish_one(publish(body=pidf(note="here")))).etag
    await alice.deliver()
    await alice.core.publish_one(publish(etag=etag, expires=0))
    await alice.deliver()
    assert alice.sent("bob") == []
    await alice.core.publish_one(publish(body=pidf(note="here")))
    await alice.watch("bob", in_dialog(first, answer.to_tag, cseq=2))
    (again,) = alice.sent("bob")
    assert again.body == offline.body
    await alice.core.subscribe_one(in_dialog(first, answer.to_tag, cseq=3, expires=0))
    await alice.deliver()
    assert [(sent.state, sent.body) for sent in alice.sent("bob")] == [("terminated;reason=timeout", offline.body)]


@BOTH
async def test_prs_07_pol_09_a_pending_watcher_sees_nothing_to_the_end(alice: Watching, sql: Sql) -> None:
    await alice.core.publish_one(publish(body=pidf(note="here")))
    await alice.put(ruleset(rule("confirm")), ALICES)
    call = watch("bob")
    answer = await alice.watch("bob", call)
    await alice.core.publish_one(publish(body=pidf(note="there", tuple_id="t2")))
    await alice.deliver()
    await alice.core.subscribe_one(in_dialog(call, answer.to_tag, cseq=2))
    await alice.deliver()
    await alice.core.subscribe_one(in_dialog(call, answer.to_tag, cseq=3, expires=0))
    await alice.deliver()
    assert alice.states("bob") == ["pending", "pending", "terminated;reason=timeout"]


async def test_win_10_a_fetch_by_one_who_is_not_let_in_yet_leaves_a_waiting_entry(
    make_watching: MakeWatching, sql: Connection
) -> None:
    alice = make_watching(ASKING)
    await alice.core.publish_one(publish())
    for _ in range(3):
        assert (await alice.watch("bob", watch("bob", expires=0))).status == 200
        assert alice.states("bob") == ["terminated;reason=timeout"]
    assert await dialogs(sql) == {"bob": (4, "timeout", "timeout")}
    assert await noted(sql) == {"bob": (2, "")}
    await alice.watch("alice", subscribe(event=WINFO, from_uri=ALICE))
    (told,) = alice.sent("alice")
    assert read(told.body).what == [("sip:bob@example.net", "waiting", "timeout")]
    await decide_by_hand(alice.database, ALICES, ("bob", "example.net"), Handling.ALLOW)
    await alice.deliver()
    (told,) = alice.sent("alice")
    assert read(told.body).what == [("sip:bob@example.net", "terminated", "approved")]
    assert await sql.fetchval("SELECT watchers FROM presentity_state WHERE event = 'presence'") == 0


# re-evaluation


@BOTH
async def test_pol_28_win_19_new_rules_reach_everybody_and_only_where_they_differ(alice: Watching, sql: Sql) -> None:
    await alice.core.publish_one(publish(body=pidf(note="here")))
    await alice.put(
        ruleset(rule("confirm", "p", "x"), rule("allow", "a", "s"), rule("polite-block", "o"), rule("confirm", "w")),
        ALICES,
    )
    for name in ("p", "x", "a", "s", "o", "w"):
        await alice.watch(name)
    await alice.watch("alice", subscribe(event=WINFO, from_uri=ALICE))
    for name in ("p", "x", "a", "s", "o", "w", "alice"):
        alice.sent(name)
    await alice.put(
        ruleset(rule("allow", "p", "s"), rule("block", "x"), rule("confirm", "a", "w"), rule("allow", "o")), ALICES
    )
    assert alice.states("p") == ["active+"]
    assert alice.states("x") == ["terminated;reason=rejected"]
    assert alice.states("a") == ["pending"]
    assert alice.states("s") == alice.states("w") == []
    (seen,) = alice.sent("o")
    assert (seen.state, b"here" in seen.body) == ("active", True)
    told = {what for sent in alice.sent("alice") for what in read(sent.body).what}
    assert told >= {
        ("sip:p@example.net", "active", "approved"),
        ("sip:x@example.net", "terminated", "rejected"),
        ("sip:a@example.net", "pending", "subscribe"),
    }
    assert await sql.fetchval("SELECT watchers FROM presentity_state WHERE event = 'presence'") == 5


@BOTH
async def test_prs_09_prs_10_pol_13_a_removed_document_leaves_it_to_the_default(
    make_watching: MakeWatching,
) -> None:
    alice = make_watching(ASKING)
    await alice.core.publish_one(publish())
    await alice.put(ruleset(rule("allow", "bob")), ALICES)
    await alice.watch("bob")
    assert alice.states("bob") == ["active+"]
    await delete_rules(alice.database, ALICES)
    await alice.deliver()
    assert alice.states("bob") == ["pending"]
    await alice.put(ruleset(rule("allow", "bob")), ALICES)
    assert alice.states("bob") == ["active+"]
    await alice.put(ruleset(rule("allow", "carol")), ALICES)
    assert alice.states("bob") == ["terminated;reason=rejected"]


@BOTH
async def test_a_decision_by_hand_goes_before_rules_and_can_be_taken_back(alice: Watching) -> None:
    await alice.core.publish_one(publish())
    await alice.put(ruleset(rule("confirm", "bob", "carol")), ALICES)
    await alice.watch("bob")
    await alice.watch("carol")
    bob = ("bob", "example.net")
    alice.sent("bob")
    alice.sent("carol")
    for handling, states in (
        (Handling.ALLOW, ["active+"]),
        (Handling.POLITE_BLOCK, ["active+"]),
        (None, ["pending"]),
        (Handling.BLOCK, ["terminated;reason=rejected"]),
    ):
        assert await decide_by_hand(alice.database, ALICES, bob, handling)
        await alice.deliver()
        assert alice.states("bob") == states
    assert not await decide_by_hand(alice.database, ALICES, bob, Handling.BLOCK)
    assert (await alice.watch("bob")).status == 403
    assert alice.states("carol") == []
    (row,) = [row for row in await decisions(alice.database, *ALICES) if row.by_hand]
    assert (row.watcher, row.status, row.reason) == (bob, 3, "rejected")


@BOTH
async def test_pol_14_parameter_enable_sphere_check_1_a_new_sphere_has_everybody_judged_again(
    make_watching: MakeWatching,
) -> None:
    alice = make_watching(replace(OPEN, sphere_check=True))
    await alice.put(ruleset(rule("allow", conditions='<sphere value="work"/>'), rule("confirm")), ALICES)
    home = await alice.core.publish_one(publish(body=with_sphere("home")))
    await alice.watch("bob")
    work = await alice.core.publish_one(publish(body=with_sphere("work")))
    await alice.deliver()
    assert alice.states("bob") == ["pending"], "two publications disagree: no sphere is defined"
    await alice.core.publish_one(publish(etag=home.etag, expires=0))
    await alice.deliver()
    await alice.watch("carol")
    assert alice.states("bob") == alice.states("carol") == ["active+"]
    await alice.core.publish_one(publish(etag=work.etag, body=with_sphere("home")))
    await alice.deliver()
    assert alice.states("bob") == alice.states("carol") == ["pending"]


async def test_parameter_enable_sphere_check_0_no_rule_that_asks_for_it_matches(alice: Watching) -> None:
    await alice.put(ruleset(rule("allow", conditions='<sphere value="work"/>'), rule("confirm")), ALICES)
    await alice.core.publish_one(publish(body=with_sphere("work")))
    await alice.watch("bob")
    assert alice.states("bob") == ["pending"]


@BOTH
async def test_pol_16_where_a_rule_begins_or_ceases_to_be_valid_watchers_are_judged_again(
    alice: Watching, sql: Sql
) -> None:
    def period(start: int, end: int) -> str:
        begins, ends = (datetime.now(UTC) + timedelta(hours=hours) for hours in (start, end))
        return f"<validity><from>{begins.isoformat()}</from><until>{ends.isoformat()}</until></validity>"

    await alice.put(
        ruleset(
            rule("allow", conditions=period(-1, 1)), rule("polite-block", conditions=period(3, 5)), rule("confirm")
        ),
        ALICES,
    )
    await alice.watch("bob")
    assert alice.states("bob") == ["active+"]
    for hours, state, moment in ((0, None, 1), (2, "pending", 3), (4, "active+", 5), (6, "pending", None)):
        alice.turn_clock(hours * 3600.0)
        assert await alice.store.judge_due(10) == 0
        if state is not None:
            await sql.execute("UPDATE watcher_rules SET due = clock_timestamp()")
            assert await alice.store.judge_due(10) == 1
            await alice.deliver()
            assert alice.states("bob") == [state]
        due = await sql.fetchval("SELECT due FROM watcher_rules")
        assert (due is None) == (moment is None)
        if moment is not None:
            assert abs(due - datetime.now(UTC) - timedelta(hours=moment)) < timedelta(minutes=10)


async def test_many_watchers_are_judged_in_steps(alice: Watching, notifier: DialogStore) -> None:
    """Whoever changes the rules touches no dialog: each step of the fan-out is a transaction of its own."""
    await alice.core.subscribe(*(watch(f"w{number}") for number in range(50)))
    await alice.deliver()
    alice.edge.sent.clear()
    assert not isinstance(await put_rules(alice.database, ALICES, ruleset(rule("confirm"))), Unreadable)
    decided = told = 0
    while claims := await notifier.claim(10, 7):
        assert len(claims) <= 7
        judged = await alice.judging.judge(claims, await alice.reader.dialogs(claims))
        await alice.judging.carry_out(judged.decided)
        decided += len(judged.decided)
        pending = [claim for claim in claims if claim.status == 2]
        assert len(pending) + len(judged.decided) == len(claims)
        told += len(pending)
        outcomes = [Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, 200) for claim in pending]
        await notifier.apply([(outcome, settle(200, None)) for outcome in outcomes])
    assert (decided, told) == (50, 50)


# races


async def test_a_subscribe_is_not_decided_by_rules_that_are_no_more(make_core: MakeCore, alice: Watching) -> None:
    """Two replicas: what one has changed, the other does not know until the database tells."""
    other = make_core(POLICY)
    assert (await other.subscribe_one(watch("a"))).status == 200
    await alice.put(ruleset(rule("block")), ALICES)
    assert (await other.subscribe_one(watch("b"))).status == 403
    await alice.put(ruleset(rule("allow")), ALICES)
    assert (await other.subscribe_one(watch("c"))).status == 200
    await delete_rules(alice.database, ALICES)
    assert (await other.subscribe_one(watch("d"))).status == 200


async def test_a_claim_made_before_the_change_shows_no_newer_state(alice: Watching, notifier: DialogStore) -> None:
    await alice.core.publish_one(publish(body=pidf(note="old")))
    await alice.watch("bob")
    alice.sent("bob")
    await alice.core.publish_one(publish(body=pidf(note="newer", tuple_id="t2")))
    claims = await notifier.claim(10, 10)
    await put_rules(alice.database, ALICES, ruleset(rule("block")))
    await alice.core.publish_one(publish(body=pidf(note="secret", tuple_id="t3")))
    await alice.delivery._dispatch(claims, time.monotonic())
    assert alice.sent("bob") == []
    await alice.deliver()
    assert alice.states("bob") == ["terminated;reason=rejected"]


async def test_what_was_judged_by_old_rules_is_not_carried_out(
    alice: Watching, notifier: DialogStore, sql: Connection
) -> None:
    await alice.watch("bob")
    await put_rules(alice.database, ALICES, ruleset(rule("block")))
    claims = await notifier.claim(10, 10)
    judged = await alice.judging.judge(claims, await alice.reader.dialogs(claims))
    assert [item.status for item in judged.decided] == [3]
    await put_rules(alice.database, ALICES, ruleset(rule("allow")))
    await alice.judging.carry_out(judged.decided)
    assert (await dialogs(sql))["bob"][0] == 1
    await alice.deliver()
    assert [state for state in alice.states("bob") if state != "active+"] == []


@pytest.mark.parametrize("seed", range(3))
@BOTH
async def test_rules_subscribes_and_publishes_that_race_end_right(
    make_core: MakeCore,
    make_notifier: MakeNotifier,
    database: Database,
    published: HashTable,
    alice: Watching,
    sql: Sql,
    seed: int,
) -> None:
    """A model: after the last change everybody is where the last rules put him, and sees the last state.

    While it races nobody is ever shown a state that was published after the rules that shut him out.
    """
    dice = random.Random(seed)
    names = ["a", "b", "c"]
    other = Watching(make_core(POLICY), make_notifier("other"), database, published)
    edge = other.edge = alice.edge
    other.delivery._handover._edges = edge
    shut: dict[str, int] = {}
    """Who is shut out, and the number of the first state after that."""
    state = 0
    calls = {name: watch(name) for name in names}
    answers = {name: await alice.watch(name, calls[name]) for name in names}
    etag = (await alice.core.publish_one(publish(body=pidf(note="n0.")))).etag
    rules: dict[str, str] = dict.fromkeys(names, "allow")

    async def change() -> None:
        nonlocal etag, state
        what = dice.random()
        if what < 0.4:
            state += 1
            etag = (await alice.core.publish_one(publish(etag=etag, body=pidf(note=f"n{state}.")))).etag
        elif what < 0.8:
            name = dice.choice(names)
            rules[name] = dice.choice(["allow", "confirm", "polite-block"])
            shut.pop(name, None)
            await put_rules(database, ALICES, ruleset(*(rule(how, who) for who, how in rules.items())))
            if rules[name] != "allow":
                shut[name] = state + 1
        else:
            name = dice.choice(names)
            await dice.choice([alice, other]).core.subscribe_one(
                in_dialog(calls[name], answers[name].to_tag, cseq=dice.randrange(2, 2**30))
            )

    def look() -> None:
        for name, first in shut.items():
            for sent in edge.sent.get(answers[name].dialog_id, []):
                assert all(f"n{number}.".encode() not in sent.body for number in range(first, state + 1)), name

    async def deliver(watching: Watching) -> None:
        for _ in range(dice.randrange(1, 6)):
            await asyncio.sleep(0)
        await watching.delivery._step()

    for _ in range(25):
        await asyncio.gather(change(), deliver(alice), deliver(other))
        look()
    while edge.outcomes or alice.delivery._dispatches or other.delivery._dispatches:
        await alice.deliver()
        await other.deliver()
        outcomes, edge.outcomes = edge.outcomes, []
        await alice.store.apply([(outcome, settle(200, None)) for outcome in outcomes])
    await alice.deliver()
    await other.deliver()
    look()
    expected = {"allow": 1, "polite-block": 1, "confirm": 2}
    assert {name: row[0] for name, row in (await dialogs(sql)).items()} == {n: expected[h] for n, h in rules.items()}
    for name, how in rules.items():
        last = edge.sent[answers[name].dialog_id][-1]
        assert (f"n{state}.".encode() in last.body) == (how == "allow"), name
        assert [sent.cseq for sent in edge.sent[answers[name].dialog_id]] == sorted(
            {sent.cseq for sent in edge.sent[answers[name].dialog_id]}
        )


# what is kept


async def test_parameter_waiting_subs_daysno_decisions_of_rules_are_purged_those_by_hand_are_not(
    make_watching: MakeWatching, sql: Connection
) -> None:
    alice = make_watching(ASKING)
    for name in ("gone", "here"):
        await alice.watch(name)
    await decide_by_hand(alice.database, ALICES, ("dave", "example.net"), Handling.ALLOW)
    await sql.execute("UPDATE watchers SET inserted_time = inserted_time - interval '71 hours'")
    await sql.execute("UPDATE active_watchers SET status = 3, ended = now() WHERE watcher_username = 'gone'")
    assert await alice.store.sweep_decisions(100) == 0
    await sql.execute("UPDATE watchers SET inserted_time = inserted_time - interval '2 hours'")
    assert await alice.store.sweep_decisions(100) == 1
    assert await noted(sql) == {"here": (2, ""), "dave": (1, "")}


async def test_rules_that_were_removed_are_forgotten_after_a_day(alice: Watching, sql: Connection) -> None:
    await alice.put(ruleset(rule("block")), ALICES)
    await delete_rules(alice.database, ALICES)
    assert await alice.store.sweep_decisions(100) == 0
    await sql.execute("UPDATE watcher_rules SET changed = changed - interval '25 hours'")
    assert await alice.store.sweep_decisions(100) == 1
    assert (await alice.watch("bob")).status == 200


async def test_who_is_refused_leaves_at_most_a_thousand_rows(alice: Watching, sql: Connection) -> None:
    await alice.put(ruleset(rule("block")), ALICES)
    await sql.execute(
        "INSERT INTO watchers (presentity_hash, presentity_uri, watcher_username, watcher_domain, event, status, "
        "reason, inserted_time) SELECT $1, $2, 'w' || n, 'example.org', 'presence', 3, 'rejected', now() "
        "FROM generate_series(1, 999) AS n",
        presentity_hash(ALICE),
        ALICE,
    )
    for name in (token(), token()):
        assert (await alice.watch(name)).status == 403
    assert await sql.fetchval("SELECT count(*) FROM watchers") == 1000
