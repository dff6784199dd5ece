"""Rules, decisions and explanations over REST: what is put is in force, and a dry run says who would see what."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.integration.calls import ALICE, BOB, publish, subscribe
from tests.integration.replicas import Core, Sql
from tests.integration.rest_api import RestApi, parts_of, served
from vedette.store.api_tokens import Role
from vedette.store.database import Database

PATH = "/api/v1/rules/index"
XML = {"Content-Type": "application/auth-policy+xml"}


def rules(handling: str, who: str = BOB) -> bytes:
    return (
        '<?xml version="1.0"?><ruleset xmlns="urn:ietf:params:xml:ns:common-policy" '
        'xmlns:pr="urn:ietf:params:xml:ns:pres-rules"><rule id="friends"><conditions><identity>'
        f'<one id="{who}"/></identity></conditions><actions><pr:sub-handling>{handling}</pr:sub-handling></actions>'
        "<transformations><pr:provide-services><pr:all-services/></pr:provide-services></transformations>"
        "</rule></ruleset>"
    ).encode()


@pytest.fixture
async def api(database: Database, core: Core, sql: Sql) -> AsyncIterator[RestApi]:
    for table in ("xcap", "watcher_rules", "watchers"):
        await sql.execute(f"DELETE FROM {table}")
    async with served(parts_of(database, core), is_open=True) as found:
        yield found


async def put(api: RestApi, handling: str, **headers: Any) -> Any:
    return await api.call("PUT", PATH, data=rules(handling), headers={**XML, **headers}, presentity=ALICE)


async def test_a_document_is_put_got_replaced_and_removed_by_its_etag(api: RestApi, sql: Sql) -> None:
    made = await put(api, "allow", **{"If-None-Match": "*"})
    assert (made.status, made.body["verdict"]) == (200, "created"), made
    first = made.headers["ETag"]
    assert first == f'"{made.body["etag"]}"'
    got = await api.call("GET", PATH, presentity=ALICE)
    assert (got.status, got.body, got.media_type) == (200, rules("allow"), "application/auth-policy+xml")
    assert got.headers["ETag"] == first
    (listed,) = (await api.get("/api/v1/rules", presentity=ALICE))["items"]
    assert (listed["name"], listed["event"], listed["rules"], listed["etag"]) == (
        "index",
        "presence",
        1,
        first.strip('"'),
    )
    (await put(api, "block", **{"If-None-Match": "*"})).problem(412)
    second = await put(api, "block", **{"If-Match": first})
    assert second.body["verdict"] == "replaced"
    (await put(api, "allow", **{"If-Match": first})).problem(412)
    (await api.call("DELETE", PATH, headers={"If-Match": first}, presentity=ALICE)).problem(412)
    assert (await put(api, "allow", **{"If-Match": "*"})).status == 200
    assert (await api.call("DELETE", PATH, presentity=ALICE)).body["verdict"] == "removed"
    (await api.call("DELETE", PATH, presentity=ALICE)).problem(404)
    (await api.call("GET", PATH, presentity=ALICE)).problem(404)
    (await put(api, "allow", **{"If-Match": "*"})).problem(412)
    entries = await sql.fetch("SELECT operation, target, status FROM audit ORDER BY id")
    assert [tuple(row) for row in entries] == [
        ("put_rules_document", ALICE, 200),
        ("put_rules_document", ALICE, 200),
        ("put_rules_document", ALICE, 200),
        ("delete_rules_document", ALICE, 200),
    ]


async def test_a_document_that_cannot_be_read_is_refused_with_its_line(api: RestApi, sql: Sql) -> None:
    for text in (b"", b"<", b"<ruleset/>", rules("perhaps")):
        answer = await api.call("PUT", PATH, data=text, headers=XML, presentity=ALICE)
        assert answer.problem(422)["where"] == "body", text
    assert await sql.fetchval("SELECT count(*) FROM xcap") == 0
    (await api.call("PUT", PATH, data=rules("allow"), headers=XML, presentity=ALICE, event="nothing")).problem(422)


async def test_a_dry_run_says_who_would_gain_or_lose_and_changes_nothing(api: RestApi, core: Core, sql: Sql) -> None:
    await core.subscribe_one(subscribe(ALICE))
    answer = await api.call("PUT", PATH, data=rules("allow"), headers=XML, presentity=ALICE, dry_run="true")
    assert answer.body["verdict"] == "dry run"
    (gained,) = answer.body["differences"]
    assert (gained["watcher"], gained["change"], gained["before"]) == (BOB, "gains", "waits for a decision")
    assert await sql.fetchval("SELECT count(*) FROM xcap") == 0
    await put(api, "allow")
    answer = await api.call("DELETE", PATH, presentity=ALICE, dry_run="true")
    assert [item["change"] for item in answer.body["differences"]] == ["loses"]
    assert await sql.fetchval("SELECT count(*) FROM xcap") == 1


async def test_why_a_watcher_sees_what_he_sees(api: RestApi, core: Core) -> None:
    await core.publish_one(publish(ALICE))
    query = {"presentity": ALICE, "watcher": BOB}
    before = await api.get("/api/v1/explain", **query)
    assert (before["status"], before["basis"], before["document"]) == ("pending", "default", "")
    await put(api, "allow")
    after = await api.get("/api/v1/explain", **query)
    assert (after["status"], after["handling"]) == ("active", "allow")
    assert [(rule["id"], rule["matched"]) for rule in after["rules"]] == [("friends", True)]
    assert "open" in after["document"]
    await api.call("POST", "/api/v1/watchers/decide", body={"presentity": ALICE, "watcher": BOB, "decision": "block"})
    assert (await api.get("/api/v1/explain", **query))["basis"] == "hand"
    (await api.call("GET", "/api/v1/explain", presentity=ALICE)).problem(422)


async def test_decisions_are_made_listed_and_taken_back(api: RestApi, sql: Sql) -> None:
    watchers = [f"sip:w{number}@example.net" for number in range(5)]

    async def decide(watcher: str, decision: str) -> Any:
        body = {"presentity": ALICE, "watcher": watcher, "decision": decision}
        answer = await api.call("POST", "/api/v1/watchers/decide", body=body)
        assert answer.status == 200, answer
        return answer.body

    for watcher, decision in zip(watchers, ("approve", "block", "polite-block", "confirm", "approve"), strict=True):
        assert (await decide(watcher, decision))["changed"] is True
        assert (await decide(watcher, decision))["changed"] is False
    seen: list[dict[str, Any]] = []
    page: dict[str, Any] = {"next": ""}
    while page["next"] is not None:
        cursor = {"cursor": page["next"]} if page["next"] else {}
        page = await api.get("/api/v1/watchers", presentity=ALICE, limit="2", **cursor)
        seen += page["items"]
    assert [(item["watcher"], item["status"], item["by_hand"]) for item in seen] == [
        (watchers[0], "active", True),
        (watchers[1], "rejected", True),
        (watchers[2], "active", True),
        (watchers[3], "pending", True),
        (watchers[4], "active", True),
    ]
    assert seen[2]["reason"] == "polite-block"
    pending = await api.get("/api/v1/watchers", status="pending")
    assert [item["watcher"] for item in pending["items"]] == [watchers[3]]
    assert (await api.get("/api/v1/watchers", by_hand="false"))["items"] == []
    assert (await api.get("/api/v1/watchers", domain="example.org"))["items"] == []
    assert (await decide(watchers[0], "reset"))["changed"] is True
    assert len((await api.get("/api/v1/watchers"))["items"]) == 4
    assert await sql.fetchval("SELECT count(*) FROM audit WHERE operation = 'decide_watcher'") == 6
    for body in (
        {"presentity": ALICE, "watcher": BOB, "decision": "adore"},
        {"presentity": ALICE, "watcher": BOB, "decision": "block", "event": "nothing"},
        {"presentity": ALICE, "watcher": "tel:1", "decision": "block"},
        {"presentity": "alice", "watcher": BOB, "decision": "block"},
        {"presentity": ALICE, "watcher": "bob", "decision": "block"},
    ):
        (await api.call("POST", "/api/v1/watchers/decide", body=body)).problem(422)


async def test_a_token_of_a_domain_has_the_rules_of_its_domain(api: RestApi) -> None:
    token = await api.token(Role.OPERATOR, "example.org")
    await put(api, "allow")
    for method, path, more in (
        ("GET", "/api/v1/rules", {}),
        ("GET", PATH, {}),
        ("PUT", PATH, {"data": rules("allow"), "headers": XML}),
        ("DELETE", PATH, {}),
        ("GET", "/api/v1/explain", {"watcher": BOB}),
        ("GET", "/api/v1/watchers", {}),
    ):
        (await api.call(method, path, token=token, presentity=ALICE, **more)).problem(403)
    body = {"presentity": ALICE, "watcher": BOB, "decision": "block"}
    (await api.call("POST", "/api/v1/watchers/decide", body=body, token=token)).problem(403)
    await api.call("POST", "/api/v1/watchers/decide", body=body)
    assert (await api.call("GET", "/api/v1/watchers", token=token)).body["items"] == []
