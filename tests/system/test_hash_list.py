"""`vedette hash list`: the two tables of a running set, as `phtable_list` and `subs_phtable_list` printed them."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio

from tests.phone import MakePhone, Phone, learn, pidf, token
from tests.running_set import RunningSet, run, started
from tests.wait import until
from vedette.identity import presentity_hash
from vedette_cli.supervisor.control import ask

PRES_SIZE, SUBS_SIZE = 2, 3


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def small_tables() -> AsyncIterator[RunningSet]:
    """Four buckets for presentities and eight for subscriptions."""
    extra = {"VEDETTE_PRES_HTABLE_SIZE": str(PRES_SIZE), "VEDETTE_SUBS_HTABLE_SIZE": str(SUBS_SIZE)}
    async with started("--cores", "1", extra=extra) as running:
        yield running


async def listed(running: RunningSet, which: str, *options: str) -> dict[str, Any]:
    """What `vedette hash list --json` prints."""
    found: dict[str, Any] = json.loads(
        await running.command("hash", "list", which, "--data", str(running.data), "--json", *options)
    )
    return found


async def entries_when(running: RunningSet, which: str, count: int, *options: str) -> list[dict[str, Any]]:
    """The entries, as soon as there are so many: the core tells the cache after it has answered."""

    async def there() -> dict[str, Any] | None:
        listing = await listed(running, which, *options)
        return listing if len(listing["entries"]) == count else None

    listing = await until(there, f"{count} {which} are in the table")
    assert listing is not None
    entries: list[dict[str, Any]] = listing["entries"]
    return entries


async def keys(running: RunningSet, table: str) -> set[str]:
    """The names of the buckets that Redis has."""
    stores = await asyncio.to_thread(ask, running.data, {"command": "stores"})
    client = redis.asyncio.Redis.from_url(stores["redis_url"], decode_responses=True)
    try:
        return {str(key) for key in await client.keys(f"vedette:1:{table}:*")}
    finally:
        await client.aclose()


async def test_presentities_with_their_publications(running_set: RunningSet, udp_phone: Phone) -> None:
    aor = udp_phone.aor
    before = datetime.now(UTC)
    tags = [
        await udp_phone.published(body=pidf(aor, note=note), expires=expires)
        for note, expires in (("a", 60), ("b", 900))
    ]
    (row,) = await entries_when(running_set, "presentities", 1, "--presentity", aor)
    assert (row["presentity"], row["event"], row["publications"]) == (aor, "presence", 2)
    assert sorted(row["etags"]) == sorted(tags)
    assert row["bucket"] == presentity_hash(aor) & 511
    left = datetime.fromisoformat(row["expires"]) - before
    assert timedelta(seconds=890) < left < timedelta(seconds=930)
    refreshed = await udp_phone.request(udp_phone.publish(if_match=tags[1], expires=1800))
    assert refreshed.status == 200
    tags[1] = refreshed["sip-etag"]
    (row,) = (await listed(running_set, "presentities", "--presentity", aor))["entries"]
    assert sorted(row["etags"]) == sorted(tags), "a refresh is seen at once, though the table keeps what it has"
    assert datetime.fromisoformat(row["expires"]) - before > timedelta(seconds=1790)
    removed = await udp_phone.request(udp_phone.publish(if_match=tags[0], expires=0))
    assert removed.status == 200

    async def one_left() -> bool:
        (row,) = (await listed(running_set, "presentities", "--presentity", aor))["entries"]
        return (row["publications"], row["etags"]) == (1, [tags[1]])

    await until(one_left, "the removed publication is gone from the table")
    assert (await udp_phone.request(udp_phone.publish(if_match=tags[1], expires=0))).status == 200
    await entries_when(running_set, "presentities", 0, "--presentity", aor)


async def test_subscriptions_with_their_dialogs(running_set: RunningSet, udp_phone: Phone) -> None:
    presentity = f"sip:{token('alice')}@example.com"
    dialog = udp_phone.dialog(presentity)
    dialog.cseq = 41
    learn(dialog, await udp_phone.request(udp_phone.subscribe(dialog, event="presence;id=7", expires=500)))
    first = await udp_phone.next_notify()
    (row,) = await entries_when(running_set, "subscriptions", 1, "--presentity", presentity)
    expected = {
        "bucket": presentity_hash(presentity) & 511,
        "presentity": presentity,
        "event": "presence",
        "event_id": "7",
        "watcher": udp_phone.aor,
        "call_id": dialog.call_id,
        "to_tag": dialog.to_tag,
        "from_tag": dialog.from_tag,
        "remote_cseq": 41,
        "local_cseq": int(first["cseq"].split()[0]),
        "status": "active",
    }
    assert {name: row[name] for name in expected} == expected
    left = datetime.fromisoformat(row["expires"]) - datetime.now(UTC)
    assert timedelta(seconds=450) < left <= timedelta(seconds=500)

    learn(dialog, await udp_phone.request(udp_phone.subscribe(dialog, event="presence;id=7", expires=500)))
    second = await udp_phone.next_notify()

    async def moved_on() -> bool:
        (row,) = (await listed(running_set, "subscriptions", "--presentity", presentity))["entries"]
        return (row["remote_cseq"], row["local_cseq"]) == (42, int(second["cseq"].split()[0]))

    await until(moved_on, "both numbers have risen")
    assert (await listed(running_set, "subscriptions", "--watcher", "sip:nobody@*"))["entries"] == []
    both = ("--watcher", udp_phone.aor, "--presentity", "sip:alice*@example.com")
    assert len((await listed(running_set, "subscriptions", *both))["entries"]) == 1
    assert (await udp_phone.request(udp_phone.subscribe(dialog, event="presence;id=7", expires=0))).status == 200
    await entries_when(running_set, "subscriptions", 0, "--presentity", presentity)


async def test_a_table_for_people_and_a_limit(running_set: RunningSet, udp_phone: Phone) -> None:
    domain = f"{token('d')}.example"
    for number in range(5):
        await udp_phone.published(f"sip:u{number}@{domain}")
    pattern = ("--presentity", f"sip:*@{domain}")
    await entries_when(running_set, "presentities", 5, *pattern)
    some = await listed(running_set, "presentities", *pattern, "--limit", "3")
    assert (len(some["entries"]), some["more"]) == (3, True)
    whole = await listed(running_set, "presentities", *pattern, "--limit", "0")
    assert (len(whole["entries"]), whole["more"], whole["buckets"], whole["fallback2db"]) == (5, False, 512, 1)
    text = await running_set.command("hash", "list", "presentities", "--data", str(running_set.data), *pattern)
    head, *rows, summary = text.splitlines()
    assert head.split() == ["bucket", "presentity", "event", "publications", "version", "expires"]
    assert sorted(row.split()[1] for row in rows) == [f"sip:u{number}@{domain}" for number in range(5)]
    assert summary.startswith("5 entries in ")
    assert summary.endswith(" of 512 buckets")
    short = await running_set.command(
        "hash", "list", "presentities", "--data", str(running_set.data), *pattern, "--limit", "2"
    )
    assert short.splitlines()[-1].endswith("and more: see --limit")


async def test_without_a_set_or_a_redis_it_says_so(tmp_path: Any) -> None:
    code, out, err = await run("hash", "list", "presentities", "--data", str(tmp_path))
    assert (code, out) == (1, "")
    assert err.startswith("no set runs on ")
    assert "--redis-url" in err
    code, out, err = await run(
        "hash", "list", "subscriptions", "--redis-url", f"unix://someone:secret@{tmp_path}/none"
    )
    assert (code, out) == (1, "")
    assert err.startswith("Redis does not answer at ")
    assert "secret" not in err
    assert len(err.splitlines()) == 1
    code, out, err = await run("hash", "list", "subscriptions", "--redis-url", "nowhere")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1


async def test_a_redis_can_be_named_and_without_postgres_only_what_it_knows_is_missing(
    running_set: RunningSet, udp_phone: Phone, tmp_path: Any
) -> None:
    presentity = f"sip:{token('alice')}@example.com"
    await udp_phone.subscribed(presentity)
    await entries_when(running_set, "subscriptions", 1, "--presentity", presentity)
    stores = await asyncio.to_thread(ask, running_set.data, {"command": "stores"})
    extra = {"VEDETTE_DB_URL": f"postgresql://vedette@/vedette?host={tmp_path}"}
    options = ("--presentity", presentity, "--redis-url", stores["redis_url"], "--json")
    code, out, err = await run("hash", "list", "subscriptions", *options, extra=extra)
    assert code == 0
    (row,) = json.loads(out)["entries"]
    assert (row["watcher"], row["remote_cseq"], row["local_cseq"]) == (udp_phone.aor, None, None)
    assert err.startswith("Postgres does not answer")

    await udp_phone.published(presentity, body=pidf(presentity, note="here"))
    (row,) = await entries_when(running_set, "presentities", 1, "--presentity", presentity)
    code, out, err = await run("hash", "list", "presentities", *options, extra=extra)
    assert (code, json.loads(out)["entries"]) == (0, [row])
    assert err.startswith("Postgres does not answer")

    # Without a set the parameters come from where the services of a container have them.
    extra |= {"VEDETTE_REDIS_URL": stores["redis_url"], "VEDETTE_SUBS_HTABLE_SIZE": "10"}
    options = ("--presentity", presentity, "--data", str(tmp_path), "--json")
    code, out, _ = await run("hash", "list", "subscriptions", *options, extra=extra)
    assert (code, json.loads(out)["buckets"]) == (0, 1024)
    code, out, err = await run(
        "hash", "list", "subscriptions", *options, extra=extra | {"VEDETTE_PRES_HTABLE_SIZE": "x"}
    )
    assert (code, out) == (2, "")
    assert err.startswith("VEDETTE_PRES_HTABLE_SIZE: ")


def some_in_each_bucket(domain: str, size: int, some: int = 6) -> list[str]:
    """Presentities of a domain, so many for each of the 2 to the power of `size` buckets: chance may forget one."""
    uris = (f"sip:u{number}@{domain}" for number in itertools.count())
    buckets: dict[int, list[str]] = {bucket: [] for bucket in range(1 << size)}
    while min(map(len, buckets.values())) < some:
        uri = next(uris)
        buckets[presentity_hash(uri) & ((1 << size) - 1)].append(uri)
    return [uri for found in buckets.values() for uri in found[:some]]


@pytest.mark.parametrize(
    ("which", "table", "size"), [("presentities", "pres", PRES_SIZE), ("subscriptions", "subs", SUBS_SIZE)]
)
async def test_parameters_pres_htable_size_and_subs_htable_size(
    small_tables: RunningSet, make_phone: MakePhone, which: str, table: str, size: int
) -> None:
    """The buckets are as many as 2 to the power of the size, in Redis and in the listing."""
    phone = await make_phone(small_tables)
    domain = f"{token('d')}.example"
    uris = some_in_each_bucket(domain, size)
    if which == "presentities":
        await asyncio.gather(*(phone.published(uri) for uri in uris))
    else:
        dialogs = [phone.dialog(uri) for uri in uris]
        responses = await asyncio.gather(*(phone.request(phone.subscribe(dialog)) for dialog in dialogs))
        assert {response.status for response in responses} == {200}
    rows = await entries_when(small_tables, which, len(uris), "--presentity", f"sip:*@{domain}")
    assert {row["bucket"] for row in rows} == {presentity_hash(uri) & ((1 << size) - 1) for uri in uris}
    assert (await listed(small_tables, which))["buckets"] == 1 << size
    assert await keys(small_tables, table) == {f"vedette:1:{table}:{{{bucket}}}" for bucket in range(1 << size)}
