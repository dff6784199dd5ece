"""Watcher information on the wire (RFC 3857, RFC 3858; rows WIN, SUB-01)."""

import json
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio

from tests.conformance.observed import subscriptions, until_ended
from tests.phone import Dialog, MakePhone, Message, Phone, learn, pidf, token
from tests.running_set import RunningSet, started
from tests.servers import Servers
from tests.vectors import needs_vectors, vectors
from tests.wait import until
from tests.watcherinfo import SeenDocument, WatcherTable

WINFO = "presence.winfo"
TYPE = "application/watcherinfo+xml"
DAYS = 7


def someone() -> str:
    return f"sip:{token('alice')}@example.com"


class Reader:
    """A phone that watches the watchers; every NOTIFY it gets is read and counted."""

    def __init__(self, phone: Phone, presentity: str) -> None:
        self.phone = phone
        self.dialog = phone.dialog(presentity)
        self.table = WatcherTable()

    async def subscribe(self, *, expires: int | None = 600, accept: str | None = TYPE) -> Message:
        """The response to a SUBSCRIBE: the first one, or a later one in its dialog."""
        response = await self.phone.request(
            self.phone.subscribe(self.dialog, event=WINFO, accept=accept, expires=expires)
        )
        learn(self.dialog, response)
        return response

    async def next(self) -> tuple[Message, SeenDocument]:
        """The next NOTIFY and its document."""
        notify = await self.phone.next_notify()
        assert (notify["event"], notify["content-type"]) == (WINFO, TYPE)
        return notify, self.table.take(notify.body)

    async def told(self) -> SeenDocument:
        """The document of the next NOTIFY."""
        return (await self.next())[1]

    async def until_told(self, check: Callable[[WatcherTable], bool]) -> None:
        """Read on until the check holds for what is known."""
        while not check(self.table):
            await self.told()


async def reading(running: RunningSet, make_phone: MakePhone, presentity: str) -> Reader:
    """A reader that has the watchers there are."""
    reader = Reader(await make_phone(running), presentity)
    assert (await reader.subscribe()).status == 202
    assert (await reader.told()).state == "full"
    return reader


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_win_01_win_05_win_06_sub_01_prs_14_watchers_can_be_watched(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    presentity = someone()
    bob = await make_phone(running_set, transport=transport)
    await bob.subscribed(presentity)
    reader = Reader(await make_phone(running_set, transport=transport), presentity)
    response = await reader.subscribe(expires=None, accept=None)
    assert (response.status, response["expires"]) == (202, "3600")
    assert response.to_tag
    assert "contact" in response
    notify, document = await reader.next()
    state, _, left = notify["subscription-state"].partition(";expires=")
    assert (state, 3590 < int(left) <= 3600) == ("active", True)
    assert (document.version, document.state) == (0, "full")
    assert (document.resource, document.package) == (presentity, "presence")
    (watcher,) = document.watchers
    assert watcher.what == (bob.aor, "active", "subscribe")
    assert 590 < int(watcher.attributes["expiration"]) <= 600
    assert int(watcher.attributes["duration-subscribed"]) < 10


async def test_win_02_the_owner_alone_may_watch_who_watches_the_watchers(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    presentity = someone()
    owner, bob = await make_phone(running_set), await make_phone(running_set)

    def asks(phone: Phone, event: str) -> bytes:
        return phone.subscribe(phone.dialog(presentity), event=event, accept=TYPE)

    other = asks(bob, f"{WINFO}.winfo").replace(f"From: <{presentity}>".encode(), f"From: <{bob.aor}>".encode())
    assert [(await bob.request(request)).status for request in (other, asks(bob, f"{WINFO}.winfo.winfo"))] == [
        403,
        489,
    ]
    assert (await owner.request(asks(owner, f"{WINFO}.winfo"))).status == 202
    table = WatcherTable()
    notify = await owner.next_notify()
    assert (notify["event"], table.take(notify.body).state, table.what) == (f"{WINFO}.winfo", "full", [])
    reader = await reading(running_set, make_phone, presentity)
    while not table.what:
        table.take((await owner.next_notify()).body)
    assert table.what == [(presentity, "active", "subscribe")]
    await bob.subscribed(presentity)
    await reader.until_told(lambda seen: bool(seen.what))
    assert owner.requests.empty(), "who watches the presentity is no watcher of the watchers"


async def test_win_03_a_reader_that_wants_another_type_gets_406(running_set: RunningSet, udp_phone: Phone) -> None:
    presentity = someone()
    request = udp_phone.subscribe(udp_phone.dialog(presentity), event=WINFO, accept="application/pidf+xml")
    response = await udp_phone.request(request)
    assert (response.status, response["accept"]) == (406, TYPE)
    assert await subscriptions(running_set, presentity) == []


async def test_win_06_win_07_win_17_a_watcher_comes_refreshes_and_leaves(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    presentity = someone()
    reader = await reading(running_set, make_phone, presentity)
    bob, carol = await make_phone(running_set), await make_phone(running_set)
    dialog, _ = await bob.subscribed(presentity)
    document = await reader.told()
    assert (document.version, document.state, document.what) == (1, "partial", [(bob.aor, "active", "subscribe")])
    assert (await bob.request(bob.subscribe(dialog))).status == 200
    dialog.cseq += 1
    await carol.subscribed(presentity)
    document = await reader.told()
    assert (document.version, document.state) == (2, "partial")
    assert document.what == [(carol.aor, "active", "subscribe")], "a refresh is no change"
    assert (await bob.request(bob.subscribe(dialog, expires=0))).status == 200
    document = await reader.told()
    assert (document.version, document.state) == (3, "full")
    assert sorted(document.what) == sorted([(bob.aor, "terminated", "timeout"), (carol.aor, "active", "subscribe")])
    assert (await reader.subscribe()).status == 202
    document = await reader.told()
    assert (document.version, document.state, document.what) == (4, "full", [(carol.aor, "active", "subscribe")])


async def test_win_07_the_state_of_the_presentity_is_no_matter_of_its_watchers(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    presentity = someone()
    reader = await reading(running_set, make_phone, presentity)
    bob, publisher = await make_phone(running_set), await make_phone(running_set)
    await bob.subscribed(presentity)
    await reader.told()
    await publisher.published(presentity, body=pidf(presentity, note="here"))
    await bob.next_notify()
    assert (await reader.subscribe()).status == 202
    assert (await reader.told()).version == 2


async def test_win_09_a_fetch_is_not_shown(running_set: RunningSet, make_phone: MakePhone) -> None:
    presentity = someone()
    reader = await reading(running_set, make_phone, presentity)
    bob, carol = await make_phone(running_set), await make_phone(running_set)
    await bob.subscribed(presentity, expires=0)
    await carol.subscribed(presentity)
    document = await reader.told()
    assert (document.version, document.what) == (1, [(carol.aor, "active", "subscribe")])


async def test_a_fetch_of_the_watchers_and_an_unsubscribe_end_with_a_full_document(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    presentity = someone()
    bob = await make_phone(running_set)
    await bob.subscribed(presentity)
    fetcher = Reader(await make_phone(running_set), presentity)
    assert (await fetcher.subscribe(expires=0)).status == 202
    notify, document = await fetcher.next()
    assert notify["subscription-state"] == "terminated;reason=timeout"
    assert (document.state, document.what) == ("full", [(bob.aor, "active", "subscribe")])
    reader = await reading(running_set, make_phone, presentity)
    response = await reader.subscribe(expires=0)
    assert (response.status, response["expires"]) == (202, "0")
    notify, document = await reader.next()
    assert notify["subscription-state"] == "terminated;reason=timeout"
    assert (document.version, document.state, document.what) == (1, "full", [(bob.aor, "active", "subscribe")])
    await until_ended(running_set, reader.dialog)


async def test_win_08_a_watcher_whose_time_is_over_is_shown_as_terminated(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    presentity = someone()
    reader = await reading(running_set, make_phone, presentity)
    bob = await make_phone(running_set)
    await bob.subscribed(presentity, expires=2)
    await reader.told()
    document = await reader.told()
    assert (document.state, document.what) == ("full", [(bob.aor, "terminated", "timeout")])


async def test_win_08_a_watcher_that_was_replaced_is_shown_as_given_up(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    presentity = someone()
    reader = await reading(running_set, make_phone, presentity)
    bob = await make_phone(running_set)
    contact = f'{bob.contact};+sip.instance="<urn:uuid:{token()}>"'
    told: list[SeenDocument] = []
    for _ in range(2):
        response = await bob.request(bob.subscribe(bob.dialog(presentity), contact=contact))
        assert response.status == 200
        await bob.next_notify()
        told.append(await reader.told())
    assert told[-1].state == "full"
    assert told[-1].what == [(bob.aor, "terminated", "giveup"), (bob.aor, "active", "subscribe")]


@pytest.mark.parametrize(("answer", "event"), [(481, "deactivated"), (404, "noresource"), (None, "timeout")], ids=str)
async def test_not_19_win_08_a_watcher_whose_notify_failed_is_shown_as_terminated(
    quick_set: RunningSet, make_phone: MakePhone, answer: int | None, event: str
) -> None:
    presentity = someone()
    reader = await reading(quick_set, make_phone, presentity)
    bob, publisher = await make_phone(quick_set), await make_phone(quick_set)
    await bob.subscribed(presentity)
    await reader.told()
    bob.answer = lambda _: answer
    await publisher.published(presentity)
    document = await reader.told()
    assert (document.state, document.what) == ("full", [(bob.aor, "terminated", event)])


async def test_win_07_after_a_document_that_was_refused_the_next_is_full(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    presentity = someone()
    reader = await reading(running_set, make_phone, presentity)
    bob, carol = await make_phone(running_set), await make_phone(running_set)
    reader.phone.answer = lambda _: 500
    await bob.subscribed(presentity)
    refused = await reader.phone.next_notify()
    assert b'state="partial"' in refused.body

    async def settled() -> bool:
        (row,) = [row for row in await subscriptions(running_set, presentity) if row["event"] == WINFO]
        return not row["notify_outstanding"]

    await until(settled, "the answer has come")
    reader.phone.answer = lambda _: 200
    reader.table.version += 1
    await carol.subscribed(presentity)
    document = await reader.told()
    assert (document.version, document.state) == (2, "full")
    assert sorted(document.what) == sorted([(phone.aor, "active", "subscribe") for phone in (bob, carol)])


async def test_win_06_not_25_readers_count_each_for_itself_and_all_know_the_same_at_the_end(
    running_set: RunningSet, make_phone: MakePhone
) -> None:
    presentity = someone()
    readers = [await reading(running_set, make_phone, presentity)]
    watchers: list[tuple[Phone, Dialog]] = []
    for _ in range(3):
        for _ in range(4):
            bob = await make_phone(running_set)
            watchers.append((bob, (await bob.subscribed(presentity))[0]))
        readers.append(await reading(running_set, make_phone, presentity))
        for bob, dialog in watchers[-2:]:
            assert (await bob.request(bob.subscribe(dialog, expires=0))).status == 200
    left = sorted((bob.aor, "active", "subscribe") for bob, _ in watchers if watchers.index((bob, _)) % 4 < 2)
    for reader in readers:
        await reader.until_told(lambda table: table.what == left)
        assert len({watcher.id for watcher in reader.table.lost}) == len(reader.table.lost)
    assert len({reader.table.version for reader in readers}) > 1


# parameters, and those that wait


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def waiting_database(servers: Servers) -> str:
    """A database of our own: there are no rules yet, so what they will decide is done in it."""
    connection = await asyncpg.connect(servers.admin_url)
    await connection.execute("CREATE DATABASE waiting TEMPLATE vedette")
    await connection.close()
    return servers.database("waiting")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def changed_set(waiting_database: str) -> AsyncIterator[RunningSet]:
    """Both parameters are not what they are by default."""
    extra = {"VEDETTE_SUBS_RESPOND_200": "1", "VEDETTE_WAITING_SUBS_DAYSNO": str(DAYS)}
    async with started("--database-url", waiting_database, extra=extra) as running:
        yield running


@pytest.fixture
async def sql(waiting_database: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(waiting_database)
    yield connection
    await connection.close()


async def test_sub_01_parameter_subs_respond_200(changed_set: RunningSet, make_phone: MakePhone) -> None:
    reader = Reader(await make_phone(changed_set), someone())
    assert [(await reader.subscribe(expires=expires)).status for expires in (600, 600, 0)] == [200, 200, 200]
    fetcher = Reader(await make_phone(changed_set), someone())
    assert (await fetcher.subscribe(expires=0)).status == 200


def filled_in(text: str, values: dict[str, str]) -> bytes:
    """A message of a SIPp scenario with its keywords replaced."""
    return re.sub(r"\[(\w+)\]", lambda keyword: values[keyword[1]], text).encode()


@needs_vectors
async def test_the_scenario_of_another_server_runs_through(changed_set: RunningSet, make_phone: MakePhone) -> None:
    """RestComm's: subscribe, refresh, unsubscribe, each with 200 and a NOTIFY."""
    (scenario,) = [vector for vector in vectors("flows") if vector.path.endswith("subscription-winfo_uac.json")]
    phone = await make_phone(changed_set)
    table = WatcherTable()
    values = {
        "remote_ip": changed_set.sip[0],
        "local_ip": phone.local[0],
        "local_port": str(phone.local[1]),
        "transport": "UDP",
        "call_number": token(),
        "call_id": token(),
        "peer_tag_param": "",
    }
    states: list[str] = []
    for step in json.loads(scenario.data)["steps"]:
        if step.get("send", "").startswith("SUBSCRIBE"):
            request = filled_in(step["send"], values | {"branch": token("z9hG4bK")})
            response = await phone.request(request)
            assert response.status == 200, "the next step expects it"
            values["peer_tag_param"] = f";tag={response.to_tag}"
        elif step.get("expect") == "request NOTIFY":
            notify = await phone.next_notify()
            table.take(notify.body)
            states.append(notify.state)
    assert states == ["active", "active", "terminated"]


@pytest.mark.parametrize("leaves", [False, True], ids=["its time is over", "it leaves"])
async def test_win_08_win_12_parameter_waiting_subs_daysno(
    changed_set: RunningSet,
    make_phone: MakePhone,
    sql: "asyncpg.Connection[asyncpg.Record]",
    *,
    leaves: bool,
) -> None:
    presentity = someone()
    bob = await make_phone(changed_set)
    dialog, _ = await bob.subscribed(presentity)
    for table in ("active_watchers", "delivery"):
        await sql.execute(f"UPDATE {table} SET status = 2 WHERE presentity_uri = $1", presentity)
    reader = Reader(await make_phone(changed_set), presentity)
    await reader.subscribe()
    assert (await reader.told()).what == [(bob.aor, "pending", "subscribe")]
    if leaves:
        assert (await bob.request(bob.subscribe(dialog, expires=0))).status == 200
    else:
        await sql.execute(
            "UPDATE active_watchers SET expires = now() WHERE presentity_uri = $1 AND status = 2", presentity
        )
    document = await reader.told()
    assert (document.state, document.what) == ("partial", [(bob.aor, "waiting", "timeout")])
    assert (await bob.next_notify())["subscription-state"] == "terminated;reason=timeout"
    (row,) = [row for row in await subscriptions(changed_set, presentity) if row["event"] == "presence"]
    assert row["status"] == "waiting"
    left = datetime.fromisoformat(row["expires"]) - datetime.now(UTC)
    assert timedelta(days=DAYS, minutes=-5) < left <= timedelta(days=DAYS)
    dialog.cseq += 1
    assert (await bob.request(bob.subscribe(dialog))).status == 481
    await sql.execute(
        "UPDATE active_watchers SET expires = now() WHERE presentity_uri = $1 AND status = 4", presentity
    )
    document = await reader.told()
    assert (document.state, document.what) == ("full", [(bob.aor, "terminated", "giveup")])
    assert [row["event"] for row in await subscriptions(changed_set, presentity)] == [WINFO]
