"""Publishing over HTTP: the same checks, tags and change events as a PUBLISH, and answers that can be repeated."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.integration.calls import subscribe
from tests.integration.replicas import POLICY, Core, MakeCore, Sql
from tests.integration.rest_api import RestApi, parts_of, served
from vedette.store.api_tokens import Role
from vedette.store.database import Database

ALICE = "sip:alice@example.com"
PIDF = (
    b'<?xml version="1.0"?><presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:alice@example.com">'
    b'<tuple id="t"><status><basic>open</basic></status></tuple></presence>'
)
RAW = {"Content-Type": "application/pidf+xml"}
OPEN = {"presentity": ALICE, "presence": {"status": "open"}}


@pytest.fixture
async def api(database: Database, core: Core) -> AsyncIterator[RestApi]:
    async with served(parts_of(database, core), is_open=True) as found:
        yield found


async def published(api: RestApi, body: Any = None, **headers: Any) -> dict[str, Any]:
    """What became of a new publication."""
    answer = await api.call("POST", "/api/v1/publications", body=body or OPEN, headers=headers)
    assert answer.status == 201, answer
    assert answer.headers["ETag"] == f'"{answer.body["etag"]}"'
    assert answer.headers["Location"] == f"/api/v1/publications/{answer.body['id']}"
    found: dict[str, Any] = answer.body
    return found


@pytest.mark.parametrize(
    ("event", "state", "seen"),
    [
        (
            "presence",
            {"presence": {"status": "closed", "note": "a <b> & \N{SNOWMAN}", "activities": ["meeting", "meal"]}},
            ["<basic>closed</basic>", "a &lt;b&gt; &amp; \N{SNOWMAN}", "meeting/>", "meal/>"],
        ),
        (
            "dialog",
            {
                "dialog": {
                    "calls": [{"id": "1", "state": "early", "direction": "recipient", "remote": "sip:b@c.example"}]
                }
            },
            ["<state>early</state>", "sip:b@c.example", 'direction="recipient"'],
        ),
        ("dialog", {"dialog": {"calls": []}}, ["dialog-info"]),
        (
            "message-summary",
            {"message_summary": {"waiting": True, "messages": {"voice": {"new": 2, "old": 8, "urgent_new": 1}}}},
            ["Messages-Waiting: yes", f"Message-Account: {ALICE}", "Voice-Message: 2/8 (1/0)"],
        ),
    ],
)
async def test_states_in_plain_words_become_documents(
    api: RestApi, event: str, state: dict[str, Any], seen: list[str]
) -> None:
    result = await published(api, {"presentity": "alice@Example.COM", "event": event, "expires": 600, **state})
    assert (result["presentity"], result["event"]) == (ALICE, event)
    assert 0 < result["expires_in"] <= 600
    view = await api.get(f"/api/v1/publications/{result['id']}")
    assert (view["etag"], view["event"], view["presentity"]) == (result["etag"], event, ALICE)
    presentity = await api.get(f"/api/v1/presentities/{ALICE}", event=event)
    for text in seen:
        assert text in presentity["document"]
    assert [one["id"] for one in presentity["publication_list"]] == [result["id"]]
    assert presentity["publication_list"] == (await api.get("/api/v1/publications", presentity=ALICE))["items"]


async def test_a_publication_is_made_replaced_refreshed_and_removed(api: RestApi, sql: Sql) -> None:
    answer = await api.call("POST", "/api/v1/publications", data=PIDF, headers=RAW, presentity=ALICE, expires="100")
    assert (answer.status, answer.body["expires_in"]) == (201, 100)
    path = f"/api/v1/publications/{answer.body['id']}"
    first = answer.body["etag"]
    view = await api.call("GET", path)
    assert (view.body["body"].encode(), view.headers["ETag"]) == (PIDF, f'"{first}"')

    answer = await api.call("PUT", path, body={"presence": {"status": "closed"}}, headers={"If-Match": f'"{first}"'})
    assert answer.status == 200, answer
    second = answer.body["etag"]
    assert second != first
    answer = await api.call("PUT", path, data=PIDF, headers={**RAW, "If-Match": f'"{first}"'})
    assert answer.problem(412)["where"] == "header.if-match"
    answer = await api.call("POST", f"{path}/refresh", body={"expires": 50}, headers={"If-Match": second})
    assert (answer.status, answer.body["expires_in"]) == (200, 50)
    assert "closed" in (await api.get(path))["body"]
    assert (await api.call("POST", f"{path}/refresh")).status == 200
    assert (await api.call("PUT", path, data=PIDF, headers={**RAW, "If-Match": "*"})).status == 200
    (await api.call("DELETE", path, headers={"If-Match": f'"{second}"'})).problem(412)
    assert (await api.call("DELETE", path)).status == 204
    for method, more in (("GET", ""), ("DELETE", ""), ("PUT", ""), ("POST", "/refresh")):
        body = {"presence": {"status": "open"}} if method == "PUT" else None
        (await api.call(method, path + more, body=body)).problem(404)
    assert (await api.get("/api/v1/publications", presentity=ALICE))["items"] == []
    assert await sql.fetchval("SELECT count(*) FROM presentity WHERE ended IS NULL") == 0


async def test_a_watcher_is_owed_a_notify_for_what_is_published_over_http(api: RestApi, core: Core, sql: Sql) -> None:
    await core.subscribe_one(subscribe(ALICE))
    await sql.execute("DELETE FROM change_event")
    before = await sql.fetchval("SELECT version FROM presentity_state")
    await published(api)
    assert await sql.fetchval("SELECT count(*) FROM change_event WHERE presentity_uri = $1", ALICE) == 1
    assert await sql.fetchval("SELECT version FROM presentity_state") > before


# Idempotency-Key


async def test_a_request_that_is_repeated_with_its_key_has_one_effect_and_one_answer(api: RestApi, sql: Sql) -> None:
    key = {"Idempotency-Key": "one"}
    first = await api.call("POST", "/api/v1/publications", body=OPEN, headers=key)
    path = f"/api/v1/publications/{first.body['id']}"
    await api.call("PUT", path, body={"presence": {"status": "closed"}}, headers={"Idempotency-Key": "two"})
    replayed = await api.call("POST", "/api/v1/publications", body=OPEN, headers=key)
    assert (replayed.status, replayed.body, replayed.headers["ETag"]) == (201, first.body, first.headers["ETag"])
    assert replayed.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert "closed" in (await api.get(path))["body"]
    again = await api.call("PUT", path, body={"presence": {"status": "closed"}}, headers={"Idempotency-Key": "two"})
    assert (again.status, again.headers["Idempotency-Replayed"]) == (200, "true")
    for _ in range(2):
        assert (await api.call("DELETE", path, headers={"Idempotency-Key": "three"})).status == 204
    assert await sql.fetchval("SELECT count(*) FROM presentity") == 1
    assert await sql.fetchval("SELECT count(*) FROM audit") == 3


async def test_a_key_belongs_to_one_request_and_one_token(api: RestApi, sql: Sql) -> None:
    key = {"Idempotency-Key": "mine"}
    await published(api, **key)
    other = {"presentity": ALICE, "presence": {"status": "closed"}}
    answer = await api.call("POST", "/api/v1/publications", body=other, headers=key)
    assert answer.problem(422)["where"] == "header.idempotency-key"
    token = await api.token(Role.OPERATOR)
    answer = await api.call("POST", "/api/v1/publications", body=other, headers=key, token=token)
    assert answer.status == 201
    await sql.execute("UPDATE rest_answer SET created = created - interval '25 hours'")
    assert (await api.call("POST", "/api/v1/publications", body=other, headers=key)).status == 201


async def test_the_same_request_many_times_at_once_makes_one_publication(api: RestApi, sql: Sql) -> None:
    answers = await asyncio.gather(
        *(api.call("POST", "/api/v1/publications", body=OPEN, headers={"Idempotency-Key": "race"}) for _ in range(20))
    )
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body["etag"] for answer in answers}) == 1
    assert await sql.fetchval("SELECT count(*) FROM presentity") == 1


async def test_a_key_whose_request_was_refused_is_free_again(api: RestApi) -> None:
    key = {"Idempotency-Key": "again"}
    bad = await api.call("POST", "/api/v1/publications", data=b"<", headers={**RAW, **key}, presentity=ALICE)
    bad.problem(422)
    await published(api, **key)


async def test_an_answer_that_was_lost_before_it_was_kept_is_found_again(api: RestApi, sql: Sql) -> None:
    """The api died between the core's answer and its own note of it."""
    key = {"Idempotency-Key": "lost"}
    first = await published(api, **key)
    await sql.execute("UPDATE rest_answer SET status = NULL, answer = NULL")
    assert await published(api, **key) == first
    assert await sql.fetchval("SELECT count(*) FROM presentity") == 1


# refusals


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "body.presentity"),
        ({"presentity": ALICE}, "body"),
        ({"presentity": ALICE, "presence": {"status": "open"}, "body": "x"}, "body"),
        ({"presentity": ALICE, "body": "x"}, "body.content_type"),
        ({"presentity": ALICE, "presence": {"status": "open"}, "content_type": "a/b"}, "body.content_type"),
        ({"presentity": ALICE, "presence": {"status": "ajar"}}, "body.presence.status"),
        ({"presentity": ALICE, "presence": {"status": "open", "note": "\0"}}, "body.presence.note"),
        ({"presentity": ALICE, "presence": {"status": "open", "activities": ["flying"]}}, "body.presence.activities"),
        ({"presentity": ALICE, "presence": {"status": "open", "mood": "x"}}, "body.presence.mood"),
        ({"presentity": ALICE, "event": "dialog", "presence": {"status": "open"}}, "body.presence"),
        ({"presentity": ALICE, "event": "nothing", "content_type": "a/b", "body": "x"}, "event"),
        ({"presentity": ALICE, "event": "presence.winfo", "content_type": "a/b", "body": "x"}, "event"),
        ({"presentity": ALICE, "event": "a b", "content_type": "a/b", "body": "x"}, "body"),
        ({"presentity": "tel:1", "presence": {"status": "open"}}, "body.presentity"),
        ({"presentity": ALICE, "expires": 0, "presence": {"status": "open"}}, "body.expires"),
        ({"presentity": ALICE, "expires": 2**31, "presence": {"status": "open"}}, "body.expires"),
        ({"presentity": ALICE, "content_type": "application/pidf+xml", "body": "<"}, "body"),
    ],
)
async def test_what_cannot_be_published_is_a_422_that_says_where(
    api: RestApi, sql: Sql, body: dict[str, Any], where: str
) -> None:
    answer = await api.call("POST", "/api/v1/publications", body=body)
    assert answer.problem(422)["where"] == where, answer
    assert await sql.fetchval("SELECT count(*) FROM presentity") == 0


async def test_other_refusals_have_their_own_status(database: Database, make_core: MakeCore) -> None:
    core = make_core(replace(POLICY, domains=frozenset({"example.com"}), max_publications=1, min_expires=60))
    async with served(parts_of(database, core), is_open=True) as api:
        path = "/api/v1/publications"
        await published(api)
        assert "Too many" in (await api.call("POST", path, body=OPEN)).problem(409)["detail"]
        other = {**OPEN, "presentity": "sip:alice@example.net"}
        assert "domain" in (await api.call("POST", path, body=other)).problem(404)["detail"]
        brief = await api.call("POST", path, body={**OPEN, "expires": 5})
        assert "60" in brief.problem(422)["remedy"]
        answer = await api.call("POST", path, data=PIDF, headers={"Content-Type": "text/plain"}, presentity=ALICE)
        assert "application/pidf+xml" in answer.problem(415)["remedy"]
        answer = await api.call("POST", path, data=PIDF, headers=RAW)
        assert answer.problem(422)["where"] == "query.presentity"
        answer = await api.call("POST", path, body=OPEN, presentity=ALICE)
        assert answer.problem(422)["where"] == "query.presentity"
        answer = await api.call("POST", path, body=OPEN, headers={"Idempotency-Key": "\xe4"})
        assert answer.problem(422)["where"] == "header.Idempotency-Key"


async def test_a_token_of_a_domain_publishes_there_only(api: RestApi, sql: Sql) -> None:
    token = await api.token(Role.OPERATOR, "example.com")
    other = {**OPEN, "presentity": "sip:alice@example.net"}
    result = await published(api, other)
    path = f"/api/v1/publications/{result['id']}"
    (await api.call("POST", "/api/v1/publications", body=other, token=token)).problem(403)
    for method, more in (("GET", ""), ("DELETE", ""), ("POST", "/refresh")):
        (await api.call(method, path + more, token=token)).problem(404)
    assert (await api.call("POST", "/api/v1/publications", body=OPEN, token=token)).status == 201
    listed = await api.call("GET", "/api/v1/publications", token=token)
    assert [item["presentity"] for item in listed.body["items"]] == [ALICE]
    (await api.call("GET", "/api/v1/publications", token=token, domain="example.net")).problem(403)
    (await api.call("GET", "/api/v1/publications", token=token, presentity="sip:a@example.net")).problem(403)


async def test_what_was_done_stands_in_the_audit_log_without_the_document(api: RestApi, sql: Sql) -> None:
    token = await api.token(Role.OPERATOR)
    body = {"presentity": ALICE, "presence": {"status": "open", "note": "confidential"}}
    answer = await api.call("POST", "/api/v1/publications", body=body, token=token)
    (await api.call("POST", "/api/v1/publications", data=b"<", headers=RAW, presentity=ALICE)).problem(422)
    await api.call("DELETE", f"/api/v1/publications/{answer.body['id']}")
    rows = await sql.fetch("SELECT * FROM audit ORDER BY id")
    assert [(row["operation"], row["target"], row["domain"], row["status"]) for row in rows] == [
        ("create_publication", ALICE, "example.com", 200),
        ("create_publication", ALICE, "example.com", 422),
        ("remove_publication", ALICE, "example.com", 200),
    ]
    assert rows[0]["token_id"] == token.split("_")[1]
    assert (rows[0]["actor"], rows[1]["actor"], rows[1]["token_id"]) == (
        f"test {rows[0]['token_id']}",
        "anonymous",
        None,
    )
    assert rows[0]["source"] == "127.0.0.1"
    assert "confidential" not in str(rows)


async def test_pages_of_publications_have_each_of_them_once_while_others_come_and_go(api: RestApi) -> None:
    made = {(await published(api, {**OPEN, "presentity": f"sip:u{n}@example.com"}))["id"] for n in range(7)}
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await api.get("/api/v1/publications", limit="3", domain="example.com", **cursor)
        seen += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
        await published(api, {**OPEN, "presentity": f"sip:late{len(seen)}@example.com"})
        await api.call("DELETE", f"/api/v1/publications/{page['items'][0]['id']}")
    assert len(seen) == len(set(seen))
    assert made <= set(seen)
