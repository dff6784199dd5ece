"""What a source may send, and who is kept out: an edge whose limits are low (issue 5, item 7)."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest_asyncio
from typer.testing import CliRunner

from sip_edge.domain.admission import RETRY_LATEST, RETRY_SOONEST
from tests.conformance.digest_client import digest, publishes, user
from tests.conformance.observed import subscriptions
from tests.phone import MakePhone, Message, Phone, learn, token
from tests.running_set import RunningSet, started
from tests.wait import until, until_true
from vedette_cli.main import app
from vedette_cli.supervisor.control import ask

PROXY = "127.0.0.2"
RATE, BURST = 2, 100
THRESHOLD, BAN_TIME, BAN_TIME_MAX = 30, 40, 50
WRONG = 3
DEADLINE = 20.0
FLOOD = 300


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded_set() -> AsyncIterator[RunningSet]:
    """Every source of loopback is a stranger, but for the proxy; each test has a source of its own."""
    extra = {
        "VEDETTE_TRUSTED_PEERS": PROXY,
        "VEDETTE_MAX_REQUESTS_PER_SECOND": str(RATE),
        "VEDETTE_MAX_REQUESTS_BURST": str(BURST),
        "VEDETTE_BAN_THRESHOLD": str(THRESHOLD),
        "VEDETTE_BAN_TIME": str(BAN_TIME),
        "VEDETTE_BAN_TIME_MAX": str(BAN_TIME_MAX),
        "VEDETTE_BAN_TIME_UDP": "30",
        "VEDETTE_MAX_WRONG_PASSWORDS": str(WRONG),
    }
    async with started("--cores", "1", "--auth", "digest", extra=extra) as running:
        yield running


def options(phone: Phone) -> bytes:
    headers = [
        f"Via: {phone.via()}",
        f"From: <{phone.aor}>;tag={token()}",
        f"To: <{phone.aor}>",
        f"Call-ID: {token()}",
        "CSeq: 1 OPTIONS",
    ]
    return phone.build("OPTIONS", phone.aor, headers)


def answers(phone: Phone, status: int) -> list[Message]:
    return [message for message in phone.received if message.is_response and message.status == status]


async def served(phone: Phone) -> bool:
    """Whether a request is answered in the way it is when nobody sends too many."""
    return (await phone.request(options(phone))).status == 200


async def test_parameter_max_requests_per_second_and_burst_beyond_them_one_503_and_then_silence(
    guarded_set: RunningSet, make_phone: MakePhone
) -> None:
    flooder = await make_phone(guarded_set, source="127.0.3.1")
    other = await make_phone(guarded_set, source="127.0.3.2")
    for _ in range(FLOOD):
        flooder.send(options(flooder))
    assert await served(other), "another source does not pay for it"
    await until_true(lambda: answers(flooder, 503), "it is told")
    told = answers(flooder, 503)
    assert all(RETRY_SOONEST <= int(message["retry-after"]) <= RETRY_LATEST for message in told)
    await until_true(lambda: len(answers(flooder, 200)) >= BURST, "the burst is served")
    await until(lambda: served(flooder), "it is served again")
    # One each second at most, however long it went on; what was dropped is never answered.
    assert len(answers(flooder, 503)) + len(answers(flooder, 200)) < FLOOD


async def test_parameter_trusted_peers_have_no_bucket(guarded_set: RunningSet, make_phone: MakePhone) -> None:
    proxy = await make_phone(guarded_set, source=PROXY)
    for _ in range(3 * BURST):
        assert await served(proxy)
    assert answers(proxy, 503) == []


async def test_parameter_max_requests_per_second_responses_are_heard_whatever_was_sent(
    guarded_set: RunningSet, make_phone: MakePhone
) -> None:
    """A watcher behind the proxy's address is told; his answers come from where too much comes from."""
    proxy = await make_phone(guarded_set, source=PROXY)
    watcher = await make_phone(guarded_set, source="127.0.3.3")
    uri = f"sip:{token('alice')}@example.com"
    dialog = proxy.dialog(uri)
    learn(dialog, await proxy.request(proxy.subscribe(dialog, contact=watcher.contact)))

    async def too_many() -> bool:
        for _ in range(BURST):
            watcher.send(options(watcher))
        return await served(proxy) and bool(answers(watcher, 503))

    await until(too_many, "too much has come from the watcher")
    assert (await proxy.request(proxy.publish(uri, body=b""))).status == 400
    await proxy.published(uri)

    async def delivered() -> bool:
        return not any(item["notify_outstanding"] for item in await subscriptions(guarded_set, uri))

    await until(delivered, "the NOTIFY is answered and the answer heard")


# bans


async def in_database(running: RunningSet, statement: str, *arguments: object) -> list[Any]:
    connection = await asyncpg.connect(ask(running.data, {"command": "stores"})["db_url"])
    try:
        return list(await connection.fetch(statement, *arguments))
    finally:
        await connection.close()


async def ban(running: RunningSet, *arguments: str) -> str:
    """What `vedette ban ARGUMENTS` says, without a process for it."""
    arguments = ("ban", *arguments, "--data", str(running.data))
    result = await asyncio.to_thread(CliRunner().invoke, app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


async def ban_of(running: RunningSet, source: str, username: str = "") -> Any:
    """The row of a ban, once it is there."""

    async def found() -> Any:
        statement = "SELECT * FROM ban WHERE source = $1 AND username = $2 AND until > now()"
        return next(iter(await in_database(running, statement, source, username)), None)

    return await until(found, f"{source} {username} is in the table")


async def is_heard(phone: Phone, other: Phone) -> bool:
    """Whether a request over UDP is answered; it is not where one that was sent later is and it is not."""
    before = len(phone.received)
    phone.send(options(phone))
    assert await served(other)
    return len(phone.received) > before


async def sends_garbage(running: RunningSet, source: str) -> None:
    """Send over TCP what cannot be read, until the connection is cut."""
    reader, writer = await asyncio.open_connection(*running.sip, local_addr=(source, 0))
    broken = b"OPTIONS sip:a@b.example SIP/2.0\r\nContent-Length: 0\r\n\r\n"
    try:
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(DEADLINE):
                writer.write(2 * THRESHOLD * broken)
                await reader.read()
    finally:
        writer.close()


async def test_parameter_ban_threshold_and_ban_time_garbage_on_a_connection_has_its_source_banned(
    guarded_set: RunningSet, make_phone: MakePhone
) -> None:
    source = "127.0.3.10"
    phone = await make_phone(guarded_set, source=source)
    other = await make_phone(guarded_set, source=PROXY)
    assert await served(phone)
    await sends_garbage(guarded_set, source)
    row = await ban_of(guarded_set, source)
    assert (row["strikes"], row["reason"]) == (1, "garbage")
    assert 0 < (row["until"] - row["changed"]).total_seconds() <= BAN_TIME
    assert not await is_heard(phone, other)
    reader, writer = await asyncio.open_connection(*guarded_set.sip, local_addr=(source, 0))
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b"", "a connection is closed at once"
    writer.close()

    listed = await ban(guarded_set, "list", "--json")
    assert source in [json.loads(line)["source"] for line in listed.splitlines()]
    await ban(guarded_set, "remove", source)
    await until(lambda: is_heard(phone, other), "it is let in again")
    await ban(guarded_set, "add", source, "--for", "1h")

    async def is_out() -> bool:
        return not await is_heard(phone, other)

    await until(is_out, "it is kept out by hand")


async def test_parameter_ban_time_max_a_source_that_does_not_learn_is_banned_for_no_longer(
    guarded_set: RunningSet, make_phone: MakePhone
) -> None:
    """Bans of before count, whichever edge they were made at; a ban ends by itself; trusted peers have none."""
    source = "127.0.3.11"
    phone = await make_phone(guarded_set, source=source)
    other = await make_phone(guarded_set, source=PROXY)
    statement = "INSERT INTO ban (source, until, strikes) VALUES ($1, now() + interval '4 seconds', 20)"
    for address in (source, PROXY):
        await in_database(guarded_set, statement, address)

    async def is_out() -> bool:
        return not await is_heard(phone, other)

    await until(is_out, "the edge knows of the ban")
    await until(lambda: is_heard(phone, other), "the ban ends by itself")
    await sends_garbage(guarded_set, source)
    row = await ban_of(guarded_set, source)
    assert row["strikes"] == 21
    assert BAN_TIME < (row["until"] - row["changed"]).total_seconds() <= BAN_TIME_MAX


async def test_parameter_ban_time_udp_garbage_in_datagrams_has_datagrams_dropped_and_nothing_else(
    guarded_set: RunningSet, make_phone: MakePhone
) -> None:
    source = "127.0.3.12"
    phone = await make_phone(guarded_set, source=source)
    other = await make_phone(guarded_set, source=PROXY)
    for _ in range(THRESHOLD):
        phone.send(b"no SIP at all")
    assert not await is_heard(phone, other)
    stream = await make_phone(guarded_set, transport="tcp", source=source)
    assert await served(stream)
    assert await in_database(guarded_set, "SELECT FROM ban WHERE source = $1", source) == []


async def test_parameter_max_wrong_passwords_lock_a_user_where_they_come_from_and_nowhere_else(
    guarded_set: RunningSet, make_phone: MakePhone
) -> None:
    source = "127.0.3.13"
    guesser = await user(make_phone, guarded_set, source=source)
    owner = await make_phone(guarded_set, user=guesser.user, source="127.0.3.14")
    neighbour = await user(make_phone, guarded_set, source=source)
    name = f"{guesser.user}@example.com"
    for _ in range(WRONG):
        proof = await digest(guesser, "wrong")
        assert (await publishes(guesser, proof.header("PUBLISH", guesser.aor))).status == 401
    right = await digest(guesser)
    refused = await publishes(guesser, right.header("PUBLISH", guesser.aor))
    assert refused.status == 403
    assert 0 < int(refused["retry-after"]) <= BAN_TIME
    for phone in (owner, neighbour):
        proof = await digest(phone)
        assert (await publishes(phone, proof.header("PUBLISH", phone.aor))).status == 200
    await ban_of(guarded_set, source, name)
    await ban(guarded_set, "remove", source, name)

    async def let_in() -> bool:
        proof = await digest(guesser)
        return (await publishes(guesser, proof.header("PUBLISH", guesser.aor))).status == 200

    await until(let_in, "the lock is taken off")
