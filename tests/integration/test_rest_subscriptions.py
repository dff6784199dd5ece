"""Subscriptions over REST: found by what they are, sent again, ended; in Postgres and in Redis."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace

from notifier.domain.outcome_policy import settle
from tests.integration.calls import ALICE, BOB, subscribe
from tests.integration.dialogs_in_redis import DialogsInRedis
from tests.integration.replicas import Core, DialogStore, Sql, answer_notifies
from tests.integration.rest_api import RestApi, parts_of, served
from vedette.identity import presentity_hash
from vedette.rpc.contract import FLOW_GONE, TIMEOUT, Outcome
from vedette.store.api_tokens import Role
from vedette.store.database import Database

both = pytest.mark.parametrize("dialogs_in", ["postgres", "redis"], indirect=True)
PATH = "/api/v1/subscriptions"


@pytest.fixture
async def api(database: Database, core: Core, in_redis: DialogsInRedis | None) -> AsyncIterator[RestApi]:
    async with served(parts_of(database, core, in_redis=in_redis), is_open=True) as found:
        yield found


async def delivered(core: Core, notifier: DialogStore, uri: str = ALICE, **fields: Any) -> str:
    """The id of a new dialog whose watcher has the state."""
    answer = await core.subscribe_one(subscribe(uri, **fields))
    await answer_notifies(notifier, 200)
    return answer.to_tag


@both
async def test_a_state_is_sent_again_whatever_the_watcher_has(
    api: RestApi, core: Core, notifier: DialogStore
) -> None:
    id_ = await delivered(core, notifier)
    other = await delivered(core, notifier)
    assert await notifier.claim(10, 10) == []
    answer = await api.call("POST", f"{PATH}/{id_}/resend")
    assert (answer.status, answer.body) == (200, {"notify": "owed"})
    (claim,) = await notifier.claim(10, 10)
    assert id_.endswith(claim.dialog_id.hex())
    assert (claim.sent_before, claim.acked_digest) == (0, None)
    assert (await api.call("POST", f"{PATH}/{id_}/resend")).body == {"notify": "outstanding"}
    assert await notifier.claim(10, 10) == []
    assert other != id_


@both
async def test_what_is_asked_for_while_a_notify_is_on_its_way_follows_it(
    api: RestApi, core: Core, notifier: DialogStore
) -> None:
    answer = await core.subscribe_one(subscribe())
    claimed = await notifier.claim(10, 10)
    assert (await api.call("POST", f"{PATH}/{answer.to_tag}/resend")).body == {"notify": "outstanding"}
    assert len(claimed) == 1
    assert await notifier.claim(10, 10) == []
    outcome = Outcome(claimed[0].presentity_hash, claimed[0].dialog_id, claimed[0].cseq, 200)
    assert await notifier.apply([(outcome, settle(200, None))]) == 1
    assert await answer_notifies(notifier, 200) == {claimed[0].dialog_id}
    assert await notifier.claim(10, 10) == []


@both
@pytest.mark.parametrize("reason", ["deactivated", "probation", "rejected", "timeout", "giveup", "noresource"])
async def test_win_a_subscription_is_ended_and_its_watcher_and_who_watches_it_are_told(
    api: RestApi, core: Core, notifier: DialogStore, sql: Sql, reason: str
) -> None:
    id_ = await delivered(core, notifier)
    await delivered(core, notifier, event="presence.winfo", from_uri=ALICE, from_value=f"<{ALICE}>")
    answer = await api.call("POST", f"{PATH}/{id_}/terminate", body={"reason": reason})
    assert (answer.status, answer.body) == (200, {"reason": reason, "told": True})
    claims = await notifier.claim(10, 10)
    assert {(claim.event, claim.status) for claim in claims} == {("presence", 3), ("presence.winfo", 1)}
    last = next(claim for claim in claims if claim.status == 3)
    (record,) = await notifier.dialogs([(last.presentity_hash, last.dialog_id)])
    assert (record.reason, record.revision) == (reason, last.revision)
    row = await sql.fetchrow("SELECT * FROM active_watchers WHERE dialog_id = $1", last.dialog_id)
    assert row is not None
    assert (row["status"], row["reason"], row["status_event"]) == (3, reason, reason)
    assert row["ended"] is not None
    (await api.call("GET", f"{PATH}/{id_}")).problem(404)
    (await api.call("POST", f"{PATH}/{id_}/terminate")).problem(404)
    (await api.call("POST", f"{PATH}/{id_}/resend")).problem(404)
    watchers = await sql.fetchval(
        "SELECT watchers FROM presentity_state WHERE presentity_hash = $1 AND event = 'presence'",
        presentity_hash(ALICE),
    )
    assert watchers == 0
    entry = await sql.fetchrow("SELECT * FROM audit")
    assert entry is not None
    assert (entry["operation"], entry["target"], entry["domain"]) == ("terminate_subscription", id_, "example.com")
    assert reason in entry["detail"]


@both
async def test_an_end_overtakes_the_notify_that_is_on_its_way(
    api: RestApi, core: Core, notifier: DialogStore
) -> None:
    answer = await core.subscribe_one(subscribe())
    (claim,) = await notifier.claim(10, 10)
    assert (await api.call("POST", f"{PATH}/{answer.to_tag}/terminate")).body["told"] is True
    outcome = Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, 200)
    await notifier.apply([(outcome, settle(200, None))])
    (last,) = await notifier.claim(10, 10)
    assert (last.dialog_id, last.status, last.cseq > claim.cseq) == (claim.dialog_id, 3, True)
    await notifier.apply([(Outcome(last.presentity_hash, last.dialog_id, last.cseq, 481), settle(481, None))])
    assert await notifier.claim(10, 10) == []


@both
async def test_it_is_shown_how_the_last_notify_was_answered(
    api: RestApi, core: Core, notifier: DialogStore, in_redis: DialogsInRedis | None
) -> None:
    id_ = (await core.subscribe_one(subscribe())).to_tag

    async def shown() -> tuple[str | None, bool]:
        view = await api.get(f"{PATH}/{id_}")
        assert (view["notify_answered"] is None) == (view["notify_answer"] is None)
        return view["notify_answer"], view["notify_outstanding"]

    assert await shown() == (None, False)
    (claim,) = await notifier.claim(10, 10)
    assert await shown() == (None, True)
    outcome = Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, 200)
    await notifier.apply([(outcome, settle(200, None))])
    assert await shown() == ("200", False)
    for status, said in ((500, "500"), (TIMEOUT, "timeout"), (FLOW_GONE, "connection gone")):
        await api.call("POST", f"{PATH}/{id_}/resend")
        (claim,) = await notifier.claim(10, 10)
        outcome = Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, status)
        await notifier.apply([(outcome, settle(status, None, end_sub_on_timeout=False))])
        assert await shown() == (said, False)
    if in_redis is not None:
        # Postgres has it where Redis has lost it.
        await in_redis.empty()
        await in_redis.open()
        assert await shown() == ("connection gone", False)


@both
async def test_an_ended_dialog_of_a_watcher_counts_no_more(api: RestApi, core: Core, notifier: DialogStore) -> None:
    ids = [await delivered(core, notifier) for _ in range(2)]
    await api.call("POST", f"{PATH}/{ids[0]}/terminate")
    listed = await api.get(PATH, watcher=BOB)
    assert [item["id"] for item in listed["items"]] == [ids[1]]
    assert listed["of_last_flush"] is False
    presentity = await api.get(f"/api/v1/presentities/{ALICE}")
    assert [item["subscription"] for item in presentity["watchers"]] == [ids[1]]


@both
async def test_all_watchers_of_a_presentity_get_a_notify(api: RestApi, core: Core, notifier: DialogStore) -> None:
    for number in range(3):
        await delivered(core, notifier, from_value=f"<sip:w{number}@example.net>")
    await delivered(core, notifier, "sip:carol@example.com")
    await delivered(core, notifier, event="dialog")
    answer = await api.call("POST", "/api/v1/watchers/refresh", presentity="alice@example.com")
    assert (answer.status, answer.body) == (200, {"owed": 3, "outstanding": 0, "unreachable": 0})
    claims = await notifier.claim(10, 10)
    assert [(claim.presentity_uri, claim.event, claim.sent_before) for claim in claims] == [
        (ALICE, "presence", 0)
    ] * 3
    answer = await api.call("POST", "/api/v1/watchers/refresh", presentity="alice@example.com")
    assert answer.body == {"owed": 0, "outstanding": 3, "unreachable": 0}
    (await api.call("POST", "/api/v1/watchers/refresh", presentity="nobody@example.com")).problem(404)
    (await api.call("POST", "/api/v1/watchers/refresh")).problem(422)


@both
async def test_a_watcher_whom_nobody_reaches_is_said_to_be_out_of_reach(
    api: RestApi, core: Core, notifier: DialogStore, sql: Sql
) -> None:
    id_ = await delivered(core, notifier)
    await sql.execute("UPDATE delivery SET edge_instance = NULL")
    assert (await api.call("POST", f"{PATH}/{id_}/resend")).body == {"notify": "unreachable"}
    assert await notifier.claim(10, 10) == []
    assert (await api.call("POST", f"{PATH}/{id_}/terminate")).body["told"] is False
    assert await notifier.claim(10, 10) == []
    assert await sql.fetchval("SELECT count(*) FROM delivery") == 0


async def test_dialogs_in_redis_are_shown_as_of_the_last_flush_where_another_one_cannot_be_had(
    database: Database, core: Core, notifier: DialogStore, servers: Any
) -> None:
    """Redis went after a flush: what Postgres has is shown, and said to be old."""
    opened = DialogsInRedis("redis://127.0.0.1:1/0", database)
    await delivered(core, notifier)
    async with served(parts_of(database, core, in_redis=opened), is_open=True) as api:
        listed = await api.get(PATH)
        assert (len(listed["items"]), listed["of_last_flush"]) == (1, True)
        assert (await api.get(f"{PATH}/{listed['items'][0]['id']}"))["of_last_flush"] is True
        assert (await api.get("/api/v1/presentities"))["of_last_flush"] is True
        (await api.call("POST", f"{PATH}/{listed['items'][0]['id']}/resend")).problem(503)
        (await api.call("GET", "/api/v1/hash-tables")).problem(503)
    await opened.close()


async def test_subscriptions_are_found_by_status_edge_age_and_domain(api: RestApi, core: Core, sql: Sql) -> None:
    carol = "sip:carol@example.org"
    first = (await core.subscribe_one(subscribe(ALICE))).to_tag
    second = (await core.subscribe_one(replace(subscribe(carol), edge_instance="edge-2"))).to_tag
    await sql.execute(
        "UPDATE active_watchers SET created = created - interval '1 hour', status = 2 WHERE presentity_uri = $1",
        carol,
    )

    async def found(**query: str) -> set[str]:
        return {item["id"] for item in (await api.get(PATH, **query))["items"]}

    assert await found() == {first, second}
    assert await found(status="pending") == {second}
    assert await found(status="active") == {first}
    assert await found(status="waiting") == set()
    assert await found(edge="edge-2") == {second}
    assert await found(edge="edge-3") == set()
    assert await found(min_age="1800") == {second}
    assert await found(max_age="1800") == {first}
    assert await found(min_age="1800", max_age="3000") == set()
    assert await found(domain="Example.ORG") == {second}
    assert await found(watcher=BOB, status="pending", domain="example.org", presentity=carol) == {second}
    for name, value in (("status", "terminated"), ("min_age", "-1"), ("max_age", "nan"), ("min_age", "inf")):
        assert (await api.call("GET", PATH, **{name: value})).problem(422)["where"] == f"query.{name}"


async def test_a_token_of_a_domain_sees_and_changes_its_dialogs_only(api: RestApi, core: Core) -> None:
    token = await api.token(Role.OPERATOR, "example.org")
    first = (await core.subscribe_one(subscribe(ALICE))).to_tag
    second = (await core.subscribe_one(subscribe("sip:carol@example.org"))).to_tag
    listed = await api.call("GET", PATH, token=token)
    assert [item["id"] for item in listed.body["items"]] == [second]
    presentities = await api.call("GET", "/api/v1/presentities", token=token)
    assert [item["uri"] for item in presentities.body["items"]] == ["sip:carol@example.org"]
    (await api.call("GET", f"/api/v1/presentities/{ALICE}", token=token)).problem(403)
    for method, more in (("GET", ""), ("POST", "/resend"), ("POST", "/terminate")):
        (await api.call(method, f"{PATH}/{first}{more}", token=token)).problem(404)
    (await api.call("POST", "/api/v1/watchers/refresh", token=token, presentity=ALICE)).problem(403)
    assert (await api.call("POST", f"{PATH}/{second}/terminate", token=token)).status == 200
