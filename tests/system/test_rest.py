"""REST on a running set: what it shows of SIP, how it pages, and how it says no."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from tests.phone import MakePhone, Phone, pidf, token
from tests.running_set import RunningSet
from tests.wait import until

PROBLEM = "application/problem+json"


async def ask(running: RunningSet, path: str, method: str = "GET", **query: str) -> tuple[int, str, Any]:
    """Status, media type and JSON of an answer."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, running.api + path, params=query) as answer,
    ):
        return answer.status, answer.content_type, await answer.json(content_type=None)


async def items(running: RunningSet, path: str, **query: str) -> list[dict[str, Any]]:
    """The items of one page, which has to be the last."""
    status, media_type, page = await ask(running, path, **query)
    assert (status, media_type) == (200, "application/json"), page
    assert page["next"] is None
    found: list[dict[str, Any]] = page["items"]
    return found


async def pages(running: RunningSet, path: str, limit: int, **query: str) -> list[list[dict[str, Any]]]:
    """All pages, from cursor to cursor."""
    found: list[list[dict[str, Any]]] = []
    cursor: dict[str, str] = {}
    while True:
        status, _, page = await ask(running, path, limit=str(limit), **query, **cursor)
        assert status == 200, page
        found.append(page["items"])
        if page["next"] is None:
            return found
        cursor = {"cursor": page["next"]}


def made(key: object) -> str:
    """A cursor with that key in it."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


@pytest.fixture
async def family(running_set: RunningSet, make_phone: MakePhone) -> list[Phone]:
    """Seven presentities with a name in common, each published once."""
    name = token("family")
    phones = [await make_phone(running_set, f"{name}.{number}") for number in range(7)]
    for phone in phones:
        await phone.published()
    return phones


# presentities


async def test_a_presentity_is_shown_with_its_publications_and_the_document(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice = await make_phone(running_set, token("alice"))
    assert (await ask(running_set, f"/api/v1/presentities/{alice.aor}"))[0] == 404
    first = await alice.published(body=pidf(alice.aor, note="desk"), expires=600)
    earlier = await running_set.get(f"/api/v1/presentities/{alice.aor}")
    second = await alice.published(body=pidf(alice.aor, basic="closed", note="mobile"), expires=300)
    view = await running_set.get(f"/api/v1/presentities/{alice.aor}")
    assert (view["uri"], view["event"]) == (alice.aor, "presence")
    assert (view["publications"], view["subscriptions"]) == (2, 0)
    assert view["version"] > earlier["version"]
    assert [item["etag"] for item in view["publication_list"]] == [second, first]
    assert [item["body"].encode() for item in view["publication_list"]] == [
        pidf(alice.aor, basic="closed", note="mobile"),
        pidf(alice.aor, note="desk"),
    ]
    assert {item["content_type"] for item in view["publication_list"]} == {"application/pidf+xml"}
    for item, seconds in zip(view["publication_list"], (300, 600), strict=True):
        assert item["version"] <= view["version"]
        received, expires = (datetime.fromisoformat(item[name]) for name in ("received", "expires"))
        assert expires - received == timedelta(seconds=seconds)
        assert abs(datetime.now(UTC) - received) < timedelta(seconds=60)
    assert view["document_type"] == "application/pidf+xml"
    assert view["document"].index("desk") < view["document"].index("mobile")

    for etag in (first, second):
        assert (await alice.request(alice.publish(if_match=etag, expires=0))).status == 200
    view = await running_set.get(f"/api/v1/presentities/{alice.aor}")
    assert (view["publications"], view["publication_list"]) == (0, [])
    assert "<basic>closed</basic>" in view["document"]


async def test_the_document_is_what_watchers_get(running_set: RunningSet, make_phone: MakePhone) -> None:
    alice, bob = await make_phone(running_set, token("alice")), await make_phone(running_set)
    await alice.published(body=pidf(alice.aor, note="one"))
    await alice.published(body=pidf(alice.aor, note="two"))
    _, notify = await bob.subscribed(alice.aor)
    view = await running_set.get(f"/api/v1/presentities/{alice.aor}")
    assert view["document"].encode() == notify.body
    assert view["subscriptions"] == 1


@pytest.mark.parametrize(
    "form",
    ["{user}@example.com", "sip:{user}@EXAMPLE.com", "sips:{user}@example.com:5061", "pres:{user}@example.com"],
)
async def test_a_presentity_is_found_by_every_form_of_its_uri(
    running_set: RunningSet, make_phone: MakePhone, form: str
) -> None:
    alice = await make_phone(running_set, token("alice"))
    await alice.published()
    status, _, view = await ask(running_set, f"/api/v1/presentities/{form.format(user=alice.user)}")
    assert status == 200
    assert view["uri"] == alice.aor


async def test_a_presentity_with_a_slash_in_its_name_is_found(running_set: RunningSet, make_phone: MakePhone) -> None:
    alice = await make_phone(running_set, f"{token()}/desk")
    await alice.published()
    status, _, view = await ask(running_set, f"/api/v1/presentities/{alice.aor}")
    assert status == 200
    assert view["uri"] == alice.aor


async def test_presentities_are_found_by_a_part_of_their_uri(running_set: RunningSet, family: list[Phone]) -> None:
    name = family[0].user.partition(".")[0]
    found = await items(running_set, "/api/v1/presentities", search=name)
    assert {item["uri"] for item in found} == {phone.aor for phone in family}
    assert {(item["event"], item["publications"], item["subscriptions"]) for item in found} == {("presence", 1, 0)}
    assert [item["uri"] for item in await items(running_set, "/api/v1/presentities", search=family[3].user)] == [
        family[3].aor
    ]
    assert len(await items(running_set, "/api/v1/presentities", search=name, event="presence")) == 7
    assert await items(running_set, "/api/v1/presentities", search=name, event="dialog") == []
    assert await items(running_set, "/api/v1/presentities", search=f"{name}%") == []
    assert await items(running_set, "/api/v1/presentities", search=name.upper()) == []


@pytest.mark.parametrize(("limit", "sizes"), [(1, [1] * 7), (3, [3, 3, 1]), (7, [7]), (8, [7])])
async def test_pages_of_presentities_hold_each_of_them_once(
    running_set: RunningSet, family: list[Phone], limit: int, sizes: list[int]
) -> None:
    name = family[0].user.partition(".")[0]
    found = await pages(running_set, "/api/v1/presentities", limit, search=name)
    assert [len(page) for page in found] == sizes
    uris = [item["uri"] for page in found for item in page]
    assert sorted(uris) == [phone.aor for phone in family]


async def test_all_presentities_are_reached_page_by_page(running_set: RunningSet, family: list[Phone]) -> None:
    found = await pages(running_set, "/api/v1/presentities", 5)
    keys = [(item["uri"], item["event"]) for page in found for item in page]
    assert len(keys) == len(set(keys))
    assert {(phone.aor, "presence") for phone in family} <= set(keys)


async def test_paging_goes_on_where_it_was_while_others_come_and_go(
    running_set: RunningSet, make_phone: MakePhone, family: list[Phone]
) -> None:
    name = family[0].user.partition(".")[0]
    _, _, page = await ask(running_set, "/api/v1/presentities", search=name, limit="3")
    for number in range(7, 20):
        await (await make_phone(running_set, f"{name}.{number}")).published()
    seen = [item["uri"] for item in page["items"]]
    while page["next"] is not None:
        _, _, page = await ask(running_set, "/api/v1/presentities", search=name, limit="3", cursor=page["next"])
        seen += [item["uri"] for item in page["items"]]
    assert len(seen) == len(set(seen))
    assert {phone.aor for phone in family} <= set(seen)


# subscriptions


async def test_a_subscription_is_shown_as_it_is(running_set: RunningSet, make_phone: MakePhone) -> None:
    alice, bob = await make_phone(running_set, token("alice")), await make_phone(running_set, token("bob"), "tcp")
    dialog, notify = await bob.subscribed(alice.aor, expires=300)

    async def delivered() -> dict[str, Any] | None:
        found = await items(running_set, "/api/v1/subscriptions", presentity=alice.aor)
        return found[0] if not found[0]["notify_outstanding"] else None

    view = await until(delivered, "the outcome of the NOTIFY is known")
    assert view is not None
    assert view["id"] == dialog.to_tag
    assert (view["presentity"], view["event"], view["event_id"]) == (alice.aor, "presence", "")
    assert (view["watcher"], view["status"], view["reason"]) == (bob.aor, "active", "")
    assert (view["call_id"], view["from_tag"]) == (dialog.call_id, dialog.from_tag)
    assert view["contact"] == bob.contact.strip("<>")
    assert (view["transport"], view["source"]) == ("tcp", f"{bob.local[0]}:{bob.local[1]}")
    assert view["notify_cseq"] == int(notify["cseq"].split()[0])
    assert view["notify_version"] == view["presentity_version"]
    created, expires = (datetime.fromisoformat(view[name]) for name in ("created", "expires"))
    assert expires - created == timedelta(seconds=300)
    edges = [row["instance"] for row in (await running_set.get("/api/v1/replicas"))["items"]]
    assert view["edge"] in edges
    assert (await ask(running_set, f"/api/v1/subscriptions/{dialog.to_tag}"))[2] == view | {"of_last_flush": False}

    await alice.published()
    await bob.next_notify()
    later = await running_set.get(f"/api/v1/subscriptions/{dialog.to_tag}")
    assert later["notify_cseq"] > view["notify_cseq"]
    assert later["presentity_version"] > view["presentity_version"]

    assert (await bob.request(bob.subscribe(dialog, expires=0))).status == 200
    assert await items(running_set, "/api/v1/subscriptions", presentity=alice.aor) == []
    assert (await ask(running_set, f"/api/v1/subscriptions/{dialog.to_tag}"))[0] == 404


async def test_a_watcher_that_does_not_answer_is_seen_to_owe_an_answer(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(running_set, token("alice")), await make_phone(running_set)
    bob.answer = lambda _: None
    dialog, _ = await bob.subscribed(alice.aor)
    await alice.published()
    view = await running_set.get(f"/api/v1/subscriptions/{dialog.to_tag}")
    assert view["notify_outstanding"] is True
    assert view["notify_version"] < view["presentity_version"]
    bob.answer = lambda _: 200
    await bob.notify_where(lambda notify: b"<basic>open</basic>" in notify.body)


async def test_subscriptions_are_found_by_presentity_watcher_and_event(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, carol = token("alice"), token("carol")
    bob, dave = await make_phone(running_set, token("bob")), await make_phone(running_set, token("dave"))
    for phone in (bob, dave):
        for user in (alice, carol):
            await phone.subscribed(f"sip:{user}@example.com")

    async def found(**query: str) -> set[tuple[str, str]]:
        rows = await items(running_set, "/api/v1/subscriptions", **query)
        pairs = [
            (row["presentity"].split(":")[1].split("@")[0], row["watcher"].split(":")[1].split("@")[0])
            for row in rows
        ]
        assert len(pairs) == len(set(pairs))
        return set(pairs)

    assert await found(presentity=f"sip:{alice}@example.com") == {(alice, bob.user), (alice, dave.user)}
    assert await found(presentity=f"{alice}@Example.COM:5060") == {(alice, bob.user), (alice, dave.user)}
    assert await found(watcher=bob.aor) == {(alice, bob.user), (carol, bob.user)}
    assert await found(watcher=f"{bob.user}@example.com", event="presence") == {(alice, bob.user), (carol, bob.user)}
    assert await found(watcher=bob.aor, presentity=f"sip:{carol}@example.com") == {(carol, bob.user)}
    assert await found(watcher=bob.aor, event="dialog") == set()
    assert await found(watcher=f"sip:{token()}@example.com") == set()
    assert await found(presentity=bob.aor) == set()


@pytest.mark.parametrize(("limit", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (500, [5])])
async def test_pages_of_subscriptions_hold_each_of_them_once(
    running_set: RunningSet, make_phone: MakePhone, limit: int, sizes: list[int]
) -> None:
    bob = await make_phone(running_set, token("bob"))
    ids = {(await bob.subscribed(f"sip:{token()}@example.com"))[0].to_tag for _ in range(5)}
    found = await pages(running_set, "/api/v1/subscriptions", limit, watcher=bob.aor)
    assert [len(page) for page in found] == sizes
    listed = [item["id"] for page in found for item in page]
    assert len(listed) == 5
    assert set(listed) == ids


async def test_many_dialogs_of_one_presentity_are_reached_page_by_page(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    """All have the same first half of the key."""
    bob, presentity = await make_phone(running_set), f"sip:{token()}@example.com"
    ids = {(await bob.subscribed(presentity))[0].to_tag for _ in range(9)}
    found = await pages(running_set, "/api/v1/subscriptions", 2, presentity=presentity)
    listed = [item["id"] for page in found for item in page]
    assert len(listed) == 9
    assert set(listed) == ids


async def post(running: RunningSet, path: str, **query: str) -> Any:
    """The JSON of a 200 to a POST."""
    status, _, found = await ask(running, path, "POST", **query)
    assert status == 200, found
    return found


async def test_a_watcher_gets_what_is_sent_again_and_why_its_subscription_ends(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(running_set, token("alice")), await make_phone(running_set)
    dialog, first = await bob.subscribed(alice.aor)
    path = f"/api/v1/subscriptions/{dialog.to_tag}"

    async def answered() -> bool:
        return not (await running_set.get(path))["notify_outstanding"]

    await until(answered, "the outcome of the NOTIFY is known")
    assert await post(running_set, f"{path}/resend") == {"notify": "owed"}
    second = await bob.next_notify()
    assert second.body == first.body
    assert int(second["cseq"].split()[0]) > int(first["cseq"].split()[0])
    await until(answered, "the outcome of the NOTIFY is known")
    refreshed = await post(running_set, "/api/v1/watchers/refresh", presentity=alice.aor)
    assert refreshed == {"owed": 1, "outstanding": 0, "unreachable": 0}
    await bob.next_notify()
    async with aiohttp.ClientSession() as session:
        url = f"{running_set.api}{path}/terminate"
        async with session.post(url, json={"reason": "rejected"}) as answer:
            assert await answer.json() == {"reason": "rejected", "told": True}
    last = await bob.next_notify()
    assert last["subscription-state"].replace(" ", "") == "terminated;reason=rejected"
    assert (await bob.request(bob.subscribe(dialog))).status == 481


async def test_processes_say_how_busy_they_are_and_what_they_run_with(running_set: RunningSet) -> None:
    async def told() -> list[dict[str, Any]] | None:
        rows: list[dict[str, Any]] = (await running_set.get("/api/v1/replicas"))["items"]
        ready = [row for row in rows if row["ready"]]
        is_told = all(row["load"] is not None and row["load"]["memory"] > 2**20 for row in ready)
        return ready if is_told and {row["service"] for row in ready} == services else None

    async def all_settings() -> dict[str, Any] | None:
        settings: dict[str, Any] = await running_set.get("/api/v1/settings")
        return settings if not settings["silent"] else None

    services = {"sip-edge", "presence-core", "api", "notifier"}
    ready = await until(told, "every process says how busy it is")
    settings = await until(all_settings, "every process says what it runs with")
    assert ready is not None
    assert settings is not None
    found = {item["name"]: item for item in settings["items"]}
    assert (found["max_expires"]["value"], found["max_expires"]["source"]) == ("3600", "default")
    assert found["max_expires"]["services"] == ["api", "presence-core"]
    assert found["log_level"]["services"] == ["api", "notifier", "presence-core", "sip-edge"]
    assert {row["instance"] for row in ready} >= set(found["log_level"]["instances"])
    assert found["db_url"]["source"] == "environment"


async def test_cleaning_up_is_done_by_a_notifier_at_once(running_set: RunningSet) -> None:
    cleaned = await post(running_set, "/api/v1/cleanup")
    assert set(cleaned) == {"ended", "removed"}
    (entry, *_) = (await running_set.get("/api/v1/audit", operation="clean_up"))["items"]
    assert (entry["status"], entry["actor"]) == (200, "anonymous")


# publishing over HTTP


async def test_what_is_published_over_http_reaches_sip_watchers_and_the_other_way_round(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(running_set, token("alice")), await make_phone(running_set)
    await bob.subscribed(alice.aor)
    body = {"presentity": alice.aor, "expires": 600, "presence": {"status": "open", "note": "over HTTP"}}
    key = {"Idempotency-Key": token("key")}
    async with aiohttp.ClientSession() as session:
        made = []
        for _ in range(2):
            async with session.post(f"{running_set.api}/api/v1/publications", json=body, headers=key) as answer:
                assert answer.status == 201, await answer.text()
                made.append(await answer.json())
        assert made[0] == made[1]
        notify = await bob.notify_where(lambda notify: b"over HTTP" in notify.body)
        assert b"<basic>open</basic>" in notify.body
        # The tag is the one of SIP: a phone goes on where HTTP was.
        refreshed = await alice.request(alice.publish(if_match=made[0]["etag"], expires=300))
        assert refreshed.status == 200
        stale = {"If-Match": f'"{made[0]["etag"]}"'}
        url = f"{running_set.api}/api/v1/publications/{made[0]['id']}"
        async with session.delete(url, headers=stale) as answer:
            assert answer.status == 412
        async with session.delete(url) as answer:
            assert answer.status == 204
        await bob.notify_where(lambda notify: b"over HTTP" not in notify.body)
    await alice.published(body=pidf(alice.aor, note="over SIP"))
    view = await running_set.get(f"/api/v1/presentities/{alice.aor}")
    assert "over SIP" in view["document"]
    assert [row["watcher"] for row in view["watchers"]] == [bob.aor]
    assert [row["presentity"] for row in await items(running_set, "/api/v1/publications", presentity=alice.aor)] == [
        alice.aor
    ]


# replicas, readiness, the description


async def test_replicas_are_the_processes_of_the_set(running_set: RunningSet) -> None:
    names = {"edge": "sip-edge", "core": "presence-core", "api": "api", "notifier": "notifier"}
    running = {
        (names[row["service"]], row["pid"])
        for row in (await running_set.status())["processes"]
        if row["service"] in names
    }

    async def seen() -> bool:
        rows = (await running_set.get("/api/v1/replicas"))["items"]
        return {(row["service"], row["pid"]) for row in rows if row["ready"]} == running

    await until(seen, "every process is listed and ready")
    rows = (await running_set.get("/api/v1/replicas"))["items"]
    assert len({row["instance"] for row in rows}) == len(rows)
    for row in rows:
        host, _, port = row["address"].rpartition(":")
        assert host == "127.0.0.1"
        assert int(port)
        assert row["version"]
        assert row["host"]
        assert 0 <= row["seen"] < 60
        assert row["uptime"] > 0


async def test_readyz_says_what_was_checked(running_set: RunningSet) -> None:
    status, media_type, answer = await ask(running_set, "/readyz")
    assert (status, media_type) == (200, "application/json")
    assert answer == {
        "ready": True,
        "checks": {"postgres": "ok", "presence-core": "ok", "notifier": "ok", "sip-edge": "ok"},
    }


async def test_the_description_names_every_resource_and_every_field(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(running_set, token("alice")), await make_phone(running_set)
    await alice.published()
    dialog, _ = await bob.subscribed(alice.aor)
    status, media_type, description = await ask(running_set, "/api/v1/openapi.json")
    assert (status, media_type) == (200, "application/json")
    assert description["openapi"].startswith("3.")
    schemas = description["components"]["schemas"]
    view = await running_set.get(f"/api/v1/presentities/{alice.aor}")
    listed = (await running_set.get("/api/v1/presentities", search=alice.user))["items"][0]
    for name, shown in (
        ("PresentityView", view),
        ("PublicationView", view["publication_list"][0]),
        ("PresentitySummary", listed),
        ("SubscriptionDetail", await running_set.get(f"/api/v1/subscriptions/{dialog.to_tag}")),
        ("ReplicaView", (await running_set.get("/api/v1/replicas"))["items"][0]),
        ("Readiness", await running_set.get("/readyz")),
        ("Problem", await running_set.get("/api/v1/presentities/nobody@example.com")),
    ):
        assert set(schemas[name]["properties"]) == set(shown), name


# refusals


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/api/v1/presentities/sip:nobody-has-this-name@example.com", "sip:nobody-has-this-name@example.com"),
        ("/api/v1/presentities/alice@example.com?event=nothing", "the event nothing"),
        ("/api/v1/subscriptions/unknown", "no live subscription"),
        ("/api/v1/subscriptions/10.00000000.00000000000000000000000000000000", "no live subscription"),
        ("/api/v1/nothing", "/api/v1/openapi.json"),
        ("/", "/api/v1/openapi.json"),
        ("/docs", "/api/v1/openapi.json"),
    ],
)
async def test_what_is_not_there_is_a_404_that_says_so(running_set: RunningSet, path: str, said: str) -> None:
    status, media_type, problem = await ask(running_set, path)
    assert (status, media_type) == (404, PROBLEM)
    assert (problem["status"], problem["title"], problem["type"]) == (404, "Not Found", "about:blank")
    assert said in problem["detail"]


LISTS = ["/api/v1/presentities", "/api/v1/subscriptions"]


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "not base64!",
        "\N{LATIN SMALL LETTER E WITH ACUTE}",
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
        base64.urlsafe_b64encode(b"no JSON").decode(),
        made(None),
        made(1),
        made([]),
        made([1]),
        made([1, 2, 3]),
        made([True, "", ""]),
        made([1.5, "", ""]),
        made([2**31, "", ""]),
        made([-(2**31) - 1, "a"]),
        made([2**31, "00"]),
        made([1, "", "", ""]),
        made([1, "a\0", "presence"]),
        made([1, "\ud800", "presence"]),
        made([1, "no hex"]),
        made([1, "\ud800"]),
        made(["presentities", 1, "no hex"]),
        made(["presentities", 2**31, "", ""]),
        made(["presentities", 1, "a\0", "presence"]),
        made(["presentities", 1, "\ud800", "presence"]),
        made(["subscriptions", 1, "no hex"]),
        made(["subscriptions", 2**31, "00"]),
        made({"hash": 1}),
        base64.urlsafe_b64encode(b"[" * 1500).decode(),
    ],
)
async def test_a_cursor_that_the_server_did_not_make_is_refused(
    running_set: RunningSet, path: str, cursor: str
) -> None:
    status, media_type, problem = await ask(running_set, path, cursor=cursor)
    assert (status, media_type) == (422, PROBLEM), problem
    assert problem["detail"].startswith("cursor: ")


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "501"),
        ("limit", "-1"),
        ("limit", "many"),
        ("limit", "1.5"),
        ("limit", ""),
        ("cursor", "a" * 2049),
        ("event", "e" * 513),
        ("event", "presence\0"),
    ],
)
async def test_a_bad_parameter_is_named(running_set: RunningSet, path: str, name: str, value: str) -> None:
    status, media_type, problem = await ask(running_set, path, **{name: value})
    assert (status, media_type) == (422, PROBLEM)
    assert name in problem["detail"]
    assert problem["title"] == "Unprocessable Content"


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/api/v1/presentities", {"search": "s" * 513}),
        ("/api/v1/presentities", {"search": "a\0b"}),
        ("/api/v1/presentities/http://example.com", {}),
        ("/api/v1/presentities/sip:", {}),
        ("/api/v1/presentities/alice@example.com", {"event": "e" * 129}),
        ("/api/v1/presentities/alice@example.com", {"event": "a\0b"}),
        ("/api/v1/subscriptions", {"presentity": "tel:+1234"}),
        ("/api/v1/subscriptions", {"presentity": "sip:a b@example.com"}),
        ("/api/v1/subscriptions", {"watcher": "sip:@"}),
        ("/api/v1/subscriptions", {"watcher": "sip:a\0@example.com"}),
    ],
)
async def test_what_cannot_be_searched_for_is_a_422(
    running_set: RunningSet, path: str, query: dict[str, str]
) -> None:
    status, media_type, problem = await ask(running_set, path, **query)
    assert (status, media_type) == (422, PROBLEM), problem
    assert problem["detail"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_what_a_resource_does_not_have_is_a_405(running_set: RunningSet, method: str) -> None:
    status, media_type, problem = await ask(running_set, "/api/v1/replicas", method)
    assert (status, media_type) == (405, PROBLEM)
    assert problem["status"] == 405
    assert method in problem["detail"]
