"""Users, tokens, the audit log, queues, hash tables, settings: what REST shows and changes beside presence."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from presence_core.adapters.rest.retention import forget_now
from tests.integration.calls import ALICE, publish, subscribe
from tests.integration.replicas import Core, Sql
from tests.integration.rest_api import RestApi, parts_of, served
from tests.servers import Servers
from vedette.rpc.contract import Hello
from vedette.sip.digest import Credentials, secret_of
from vedette.store.api_tokens import Role
from vedette.store.database import Database
from vedette.store.replicas import record

OPEN = {"presentity": ALICE, "presence": {"status": "open"}}


@pytest.fixture
async def api(database: Database, core: Core, servers: Servers) -> AsyncIterator[RestApi]:
    url = servers.redis.url().replace("db=0", "db=4")
    async with served(parts_of(database, core, url), is_open=True) as found:
        yield found


async def test_users_are_added_changed_listed_and_removed(api: RestApi, sql: Sql) -> None:
    path = "/api/v1/users"
    for name in ("alice@example.com", "bob@Example.COM", "carol@example.org"):
        answer = await api.call("POST", path, body={"user": name, "password": "secret words"})
        assert answer.status == 201, answer
    (await api.call("POST", path, body={"user": "alice@example.com", "password": "x"})).problem(409)
    expected = secret_of("SHA-256", Credentials("alice", "secret words"), "example.com")
    secret = "SELECT ha1_sha256 FROM subscriber WHERE username = 'alice'"
    assert await sql.fetchval(secret) == expected
    answer = await api.call("PUT", f"{path}/alice@example.com/password", body={"password": "other"})
    assert answer.body == {"user": "alice", "domain": "example.com"}
    assert await sql.fetchval(secret) != expected
    seen: list[str] = []
    page: dict[str, Any] = {"next": ""}
    while page["next"] is not None:
        cursor = {"cursor": page["next"]} if page["next"] else {}
        page = await api.get(path, limit="1", **cursor)
        seen += [f"{item['user']}@{item['domain']}" for item in page["items"]]
    assert seen == ["alice@example.com", "bob@example.com", "carol@example.org"]
    assert [item["user"] for item in (await api.get(path, domain="example.org"))["items"]] == ["carol"]
    assert (await api.call("DELETE", f"{path}/alice@example.com")).status == 204
    (await api.call("DELETE", f"{path}/alice@example.com")).problem(404)
    (await api.call("PUT", f"{path}/alice@example.com/password", body={"password": "x"})).problem(404)
    for body, where in (
        ({"user": "alice"}, "body.password"),
        ({"user": "alice", "password": "x"}, "body.user"),
        ({"user": "a:b@example.com", "password": "x"}, "body.user"),
        ({"user": "a@example.com", "password": "a\nb"}, "body.password"),
        ({"user": "a@example.com", "password": ""}, "body.password"),
    ):
        assert (await api.call("POST", path, body=body)).problem(422)["where"] == where, body
    rows = await sql.fetch("SELECT * FROM audit ORDER BY id")
    assert [(row["operation"], row["target"], row["status"]) for row in rows][-2:] == [
        ("set_password", "alice@example.com", 200),
        ("remove_user", "alice@example.com", 204),
    ]
    assert "secret words" not in str(rows)


async def test_a_token_of_a_domain_has_the_users_of_its_domain(api: RestApi) -> None:
    token = await api.token(Role.ADMIN, "example.com")
    for name, status in (("alice@example.com", 201), ("alice@example.org", 403)):
        body = {"user": name, "password": "x"}
        assert (await api.call("POST", "/api/v1/users", body=body, token=token)).status == status
    await api.call("POST", "/api/v1/users", body={"user": "carol@example.org", "password": "x"})
    listed = await api.call("GET", "/api/v1/users", token=token)
    assert [item["domain"] for item in listed.body["items"]] == ["example.com"]
    (await api.call("DELETE", "/api/v1/users/carol@example.org", token=token)).problem(403)
    listed = await api.call("GET", "/api/v1/audit", token=token)
    assert {item["domain"] for item in listed.body["items"]} == {"example.com"}


async def test_tokens_are_made_listed_and_revoked(api: RestApi) -> None:
    path = "/api/v1/tokens"
    asked = {"name": "ci", "role": "operator", "domain": "Example.COM", "expires_in": 3600}
    made = await api.call("POST", path, body=asked)
    assert made.status == 201, made
    (await api.call("POST", path, body=asked)).problem(409)
    (await api.call("POST", path, body={**asked, "name": "x", "domain": "a@b"})).problem(422)
    (await api.call("POST", path, body={**asked, "name": "x", "role": "root"})).problem(422)
    assert (made.body["domain"], made.body["role"]) == ("example.com", "operator")
    assert (await api.call("GET", "/api/v1/publications", token=made.body["token"])).status == 200
    (listed,) = (await api.get(path))["items"]
    assert listed["id"] == made.body["id"]
    assert "token" not in listed
    assert made.body["token"].split("_", 2)[2] not in str(await api.get("/api/v1/audit"))
    revoked = await api.call("DELETE", f"{path}/{listed['id']}")
    assert revoked.body["revoked"] is not None
    (await api.call("DELETE", f"{path}/{listed['id']}")).problem(404)


async def test_the_audit_log_is_searched_and_paged_from_the_newest(api: RestApi, sql: Sql) -> None:
    for number in range(5):
        body = {"user": f"u{number}@example.com", "password": "x"}
        await api.call("POST", "/api/v1/users", body=body)
    await api.call("DELETE", "/api/v1/users/u0@example.com")
    path = "/api/v1/audit"
    seen: list[int] = []
    page: dict[str, Any] = {"next": ""}
    while page["next"] is not None:
        page = await api.get(path, limit="2", **({"cursor": page["next"]} if page["next"] else {}))
        seen += [item["id"] for item in page["items"]]
        await api.call("POST", "/api/v1/users", body={"user": f"late{len(seen)}@example.com", "password": "x"})
    assert len(seen) == 6
    assert seen == sorted(seen, reverse=True)
    (removed,) = (await api.get(path, operation="remove_user"))["items"]
    assert (removed["target"], removed["status"], removed["actor"]) == ("u0@example.com", 204, "anonymous")
    assert len((await api.get(path, target="u1@example.com"))["items"]) == 1
    assert (await api.get(path, actor="nobody"))["items"] == []
    assert (await api.get(path, domain="example.org"))["items"] == []
    assert (await api.get(path, until=removed["at"]))["items"][0]["id"] < removed["id"]
    assert (await api.get(path, since=removed["at"]))["items"][-1]["id"] == removed["id"]
    (await api.call("GET", path, since="yesterday")).problem(422)


async def test_parameter_api_audit_days_is_how_long_the_audit_log_is_kept(
    api: RestApi, database: Database, sql: Sql
) -> None:
    for number in range(3):
        key = {"Idempotency-Key": str(number)}
        await api.call("POST", "/api/v1/users", body={"user": f"u{number}@example.com", "password": "x"})
        await api.call("POST", "/api/v1/publications", body=OPEN, headers=key)
    await sql.execute("UPDATE audit SET at = at - interval '91 days' WHERE target <> 'u2@example.com'")
    await sql.execute("UPDATE rest_answer SET created = created - interval '25 hours' WHERE key <> '2'")
    assert await forget_now(database, 0) == 2
    assert await forget_now(database, 92) == 0
    assert await forget_now(database, 90) == 5
    assert [item["target"] for item in (await api.get("/api/v1/audit"))["items"]] == ["u2@example.com"]
    assert await sql.fetchval("SELECT array_agg(key) FROM rest_answer") == ["2"]


async def test_queues_show_what_is_waiting_and_for_how_long(api: RestApi, core: Core, sql: Sql) -> None:
    empty = await api.get("/api/v1/queues")
    assert set(empty.values()) == {0}
    await core.subscribe_one(subscribe(ALICE))
    await core.publish_one(publish(ALICE))
    await sql.execute("UPDATE change_event SET due = due - interval '1 minute'")
    await sql.execute("UPDATE presentity SET expires = clock_timestamp() - interval '1 minute'")
    await sql.execute(
        "UPDATE delivery SET outstanding_cseq = 1, outstanding_until = clock_timestamp() - interval '1 s'"
    )
    shown = await api.get("/api/v1/queues")
    assert shown["changes"] == shown["changes_due"] == await sql.fetchval("SELECT count(*) FROM change_event")
    assert 60 <= shown["oldest_due"] < 120
    assert (shown["notifies_outstanding"], shown["notifies_overtime"]) == (1, 1)
    assert (shown["publications_overdue"], shown["subscriptions_overdue"]) == (1, 0)


async def test_hash_tables_are_shown_bucket_by_bucket(api: RestApi) -> None:
    published, dialogs = (await api.get("/api/v1/hash-tables"))["items"]
    assert (published["name"], published["size"], published["buckets"], published["is_cache"]) == (
        "presentities",
        4,
        16,
        True,
    )
    assert (dialogs["name"], dialogs["size"], dialogs["buckets"]) == ("subscriptions", 5, 32)
    seen: list[int] = []
    page: dict[str, Any] = {"next": ""}
    while page["next"] is not None:
        cursor = {"cursor": page["next"]} if page["next"] else {}
        page = await api.get("/api/v1/hash-tables/subscriptions/buckets", limit="10", **cursor)
        seen += [item["bucket"] for item in page["items"]]
    assert seen == list(range(32))
    (await api.call("GET", "/api/v1/hash-tables/nothing/buckets")).problem(422)


async def test_event_packages_are_those_of_the_registry(api: RestApi) -> None:
    found = {item["name"]: item for item in (await api.get("/api/v1/event-packages"))["items"]}
    assert {"presence", "dialog", "dialog;sla", "message-summary", "presence.winfo"} <= set(found)
    assert found["presence.winfo"]["watchers_of"] == "presence"
    assert found["presence.winfo"]["publish_types"] == []
    assert found["message-summary"]["publish_types"] == ["application/simple-message-summary"]


async def test_a_process_that_does_not_answer_is_listed_and_said_to_be_silent(
    api: RestApi, database: Database
) -> None:
    here = Hello("api", "api", "127.0.0.1:1", "1", 1, "host", 1.0, ready=True)
    gone = Hello("notifier", "gone", "127.0.0.1:1", "1", 2, "host", 1.0, ready=True)
    await record(database, [here, gone])
    rows = {row["instance"]: row for row in (await api.get("/api/v1/replicas"))["items"]}
    assert rows["api"]["load"] == {"cpu": 0.5, "lag": 0.01, "memory": 1000}
    assert rows["gone"]["load"] is None
    settings = await api.get("/api/v1/settings")
    assert settings["silent"] == ["gone"]
    (one,) = settings["items"]
    assert (one["environment"], one["value"], one["instances"]) == ("VEDETTE_MAX_EXPIRES", "3600", ["api"])
    assert "no notifier takes the call" in (await api.call("POST", "/api/v1/cleanup")).problem(503)["detail"]
