"""Each metric moves when its cause happens, on one running set; and all that is exposed can be read."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.dashboards import expressions
from tests.metrics_page import OF_SERVICE, TABLES
from tests.phone import MakePhone, Phone, pidf, token
from tests.promql import read
from tests.running_set import RunningSet
from tests.samples import Samples, names, read_samples, value
from tests.wait import until
from vedette_cli.supervisor.control import ask
from vedette_cli.supervisor.metrics_targets import JOBS

pytestmark = pytest.mark.asyncio(loop_scope="session")

ENOUGH_LOOKS = 50
"""Two seconds or more: then what has happened shows, even by the census of each second."""

Make = Callable[[], Awaitable[Phone]]
Cause = Callable[[RunningSet, Make], Coroutine[None, None, None]]


async def scraped(running: RunningSet) -> Samples:
    return read_samples(text for texts in (await running.metrics()).values() for text in texts)


async def publish_watched(running: RunningSet, make: Make) -> None:
    """alice publishes twice, bob watches and answers."""
    alice, bob = await make(), await make()
    await bob.subscribed(alice.aor)
    await alice.published(body=pidf(alice.aor, note="one"))
    await bob.notify_where(lambda notify: b"one" in notify.body)


async def publish_badly(running: RunningSet, make: Make) -> None:
    """Refreshes what is not there."""
    alice = await make()
    response = await alice.request(alice.publish(if_match="nothing.1"))
    assert response.status == 412


async def expire_both(running: RunningSet, make: Make) -> None:
    """A publication and a subscription come to their end."""
    alice, bob = await make(), await make()
    await bob.subscribed(alice.aor, expires=2)
    await alice.published(body=pidf(alice.aor), expires=2)
    await bob.notify_where(lambda notify: notify.state == "terminated")


async def repeat_request(running: RunningSet, make: Make) -> None:
    alice = await make()
    data = alice.publish(body=pidf(alice.aor))
    await alice.request(data)
    await alice.request(data)


async def answer_nothing(running: RunningSet, make: Make) -> None:
    """A watcher that is silent: its NOTIFY is sent again, and times out."""
    alice, bob = await make(), await make()
    bob.answer = lambda _: None
    await bob.request(bob.subscribe(bob.dialog(alice.aor)))


async def send_garbage(running: RunningSet, make: Make) -> None:
    alice = await make()
    alice.send(b"GARBAGE\r\n\r\n")


async def send_malformed(running: RunningSet, make: Make) -> None:
    alice = await make()
    data = alice.publish(body=pidf(alice.aor)).replace(b"PUBLISH\r\n", b"SUBSCRIBE\r\n")
    assert (await alice.request(data)).status == 400


async def ask_strange_event(running: RunningSet, make: Make) -> None:
    alice = await make()
    response = await alice.request(alice.subscribe(alice.dialog(alice.aor), event=token("strange")))
    assert response.status == 489


async def ask_rest(running: RunningSet, make: Make) -> None:
    await running.get("/api/v1/presentities")


async def connect(running: RunningSet, make: Make) -> None:
    """Somebody is connected for as long as it takes to be seen."""
    _, writer = await asyncio.open_connection(*running.sip)

    async def seen() -> bool:
        return value(await scraped(running), "vedette_sip_connections", transport="tcp") >= 1

    try:
        await until(seen, "the connection is counted")
    finally:
        writer.close()
        await writer.wait_closed()


async def block_a_row(running: RunningSet, make: Make) -> None:
    """Somebody holds the presentity's row for as long as it takes to be seen."""
    alice = await make()
    await alice.published(body=pidf(alice.aor))
    url = (await asyncio.to_thread(ask, running.data, {"command": "stores"}))["db_url"]
    connection = await asyncpg.connect(url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("SELECT FROM presentity_state WHERE presentity_uri = $1 FOR UPDATE", alice.aor)
    waiting = asyncio.create_task(alice.request(alice.publish(body=pidf(alice.aor, note="waits"))))

    async def seen() -> bool:
        return value(await scraped(running), "vedette_database_lock_waits") >= 1

    try:
        await until(seen, "a lock is waited for")
    finally:
        await transaction.rollback()
        await connection.close()
        await waiting


CAUSES: list[tuple[Cause, str, dict[str, str]]] = [
    (publish_watched, "vedette_sip_requests_total", {"method": "PUBLISH", "event": "presence"}),
    (publish_watched, "vedette_sip_answers_total", {"method": "PUBLISH", "event": "presence", "code": "200"}),
    (publish_watched, "vedette_sip_answers_total", {"method": "SUBSCRIBE", "event": "presence", "code": "200"}),
    (publish_watched, "vedette_sip_transactions", {}),
    (publish_watched, "vedette_edge_call_batch_size_count", {}),
    (publish_watched, "vedette_edge_call_wait_seconds_count", {}),
    (publish_watched, "vedette_edge_call_seconds_count", {}),
    (publish_watched, "vedette_core_replies_total", {"method": "PUBLISH", "code": "200"}),
    (publish_watched, "vedette_core_batch_size_count", {"method": "PUBLISH"}),
    (publish_watched, "vedette_core_wait_seconds_count", {"method": "SUBSCRIBE"}),
    (publish_watched, "vedette_core_call_seconds_count", {"method": "PUBLISH"}),
    (publish_watched, "vedette_database_call_seconds_count", {}),
    (publish_watched, "vedette_database_wait_seconds_count", {}),
    (publish_watched, "vedette_claimed_total", {}),
    (publish_watched, "vedette_claim_batch_size_count", {}),
    (publish_watched, "vedette_deliver_seconds_count", {}),
    (publish_watched, "vedette_documents_composed_total", {}),
    (publish_watched, "vedette_reads_total", {"place": "memory"}),
    (publish_watched, "vedette_notify_batch_size_count", {}),
    (publish_watched, "vedette_notifies_total", {"event": "presence", "outcome": "200"}),
    (publish_watched, "vedette_outcomes_total", {"verdict": "delivered"}),
    (publish_watched, "vedette_outcome_batch_size_count", {}),
    (publish_watched, "vedette_notify_seconds_count", {}),
    (publish_watched, "vedette_notify_seconds_sum", {}),
    (publish_watched, "vedette_publications", {"event": "presence"}),
    (publish_watched, "vedette_subscriptions", {"event": "presence", "status": "active"}),
    (publish_watched, "vedette_event_loop_lag_seconds_count", {}),
    (publish_badly, "vedette_sip_answers_total", {"method": "PUBLISH", "code": "412"}),
    (publish_badly, "vedette_core_replies_total", {"method": "PUBLISH", "code": "412"}),
    (expire_both, "vedette_expired_total", {"kind": "publication"}),
    (expire_both, "vedette_expired_total", {"kind": "dialog"}),
    (repeat_request, "vedette_sip_retransmissions_total", {"direction": "received"}),
    (answer_nothing, "vedette_sip_retransmissions_total", {"direction": "sent"}),
    (answer_nothing, "vedette_notifies_under_way", {}),
    (answer_nothing, "vedette_notifies_total", {"event": "presence", "outcome": "timeout"}),
    (answer_nothing, "vedette_outcomes_total", {"verdict": "ended"}),
    (answer_nothing, "vedette_log_lines_total", {"level": "info"}),
    (send_garbage, "vedette_edge_refused_total", {"reason": "garbage"}),
    (send_garbage, "vedette_sip_unreadable_total", {"kind": "not_sip"}),
    (send_malformed, "vedette_sip_answers_total", {"method": "malformed", "event": "none", "code": "400"}),
    (ask_strange_event, "vedette_sip_answers_total", {"method": "SUBSCRIBE", "event": "other", "code": "489"}),
    (ask_rest, "vedette_rest_answers_total", {"method": "GET", "code": "200"}),
    (ask_rest, "vedette_rest_seconds_count", {}),
    (connect, "vedette_sip_connections", {"transport": "tcp"}),
    (block_a_row, "vedette_database_lock_waits", {}),
]
"""What is done, and a sample that is larger for it then, or for a moment."""


@pytest.mark.parametrize(
    "cause", list(dict.fromkeys(cause for cause, *_ in CAUSES)), ids=lambda cause: cause.__name__
)
async def test_a_metric_moves_when_its_cause_happens(
    observed_set: RunningSet, make_phone: MakePhone, cause: Cause
) -> None:
    """What is there only for a moment may be missed, or be there from before: then it happens again."""
    moves = [(name, labels) for by, name, labels in CAUSES if by is cause]

    async def values() -> list[float]:
        found = await scraped(observed_set)
        return [value(found, name, **labels) for name, labels in moves]

    lowest = await values()
    missing = set(range(len(moves)))

    async def make() -> Phone:
        return await make_phone(observed_set)

    happening = asyncio.create_task(cause(observed_set, make))
    seen_since = 0

    async def look() -> bool:
        nonlocal happening, seen_since
        for place, found in enumerate(await values()):
            if found > lowest[place]:
                missing.discard(place)
            lowest[place] = min(lowest[place], found)
        seen_since = seen_since + 1 if happening.done() else 0
        if missing and seen_since > ENOUGH_LOOKS:
            await happening
            happening = asyncio.create_task(cause(observed_set, make))
        return not missing

    try:
        await until(look, f"{moves} move", deadline=60)
    except AssertionError:
        raise AssertionError(f"did not move: {[moves[place] for place in missing]}") from None
    finally:
        await happening


async def test_every_service_exposes_its_tables_and_nothing_else(observed_set: RunningSet) -> None:
    texts = await observed_set.metrics()
    assert {JOBS[service] for service in texts} == set(OF_SERVICE)
    for service, of_service in texts.items():
        told = {metric.name.removesuffix("_total") for key in OF_SERVICE[JOBS[service]] for metric in TABLES[key]}
        exposed = names(of_service)
        assert {name for name in exposed if name.startswith("vedette_")} == told, service
        assert {"process_cpu_seconds", "process_resident_memory_bytes", "python_gc_collections"} <= exposed


async def test_seconds_from_publish_to_answer_are_plausible(observed_set: RunningSet, make_phone: MakePhone) -> None:
    before = await scraped(observed_set)
    alice, bob = await make_phone(observed_set), await make_phone(observed_set)
    await alice.published(body=pidf(alice.aor, note="before"))
    await bob.subscribed(alice.aor)
    await alice.published(body=pidf(alice.aor, note="after"))
    await bob.notify_where(lambda notify: b"after" in notify.body)

    async def risen() -> tuple[float, float]:
        now = await scraped(observed_set)
        names = ("vedette_notify_seconds_count", "vedette_notify_seconds_sum")
        count, total = (value(now, name) - value(before, name) for name in names)
        return count, total

    async def counted() -> bool:
        return (await risen())[0] >= 1

    await until(counted, "the answer is counted")
    count, total = await risen()
    assert count == 1, "the first NOTIFY of a subscription shows what is older"
    assert 0 < total < 15


async def test_nothing_but_metrics_is_there(observed_set: RunningSet) -> None:
    (row,) = await observed_set.processes("edge")
    async with aiohttp.ClientSession() as session:
        for method, path, status in (("GET", "/", 404), ("POST", "/metrics", 405), ("HEAD", "/metrics", 200)):
            async with session.request(method, f"http://{row['metrics']}{path}") as response:
                assert (response.status, await response.read()) == (status, b"")


async def test_prometheus_finds_the_processes_in_a_file(observed_set: RunningSet) -> None:
    status = await observed_set.status()
    targets = json.loads(Path(status["metrics"]).read_text(encoding="ascii"))
    assert {(one["labels"]["job"], *one["targets"]) for one in targets} == {
        (JOBS[row["service"]], row["metrics"]) for row in status["processes"] if row.get("metrics")
    }


async def test_every_metric_of_dashboard_and_alerts_is_exposed(observed_set: RunningSet) -> None:
    exposed = {"up"}  # that one is Prometheus's own
    for text in [text for texts in (await observed_set.metrics()).values() for text in texts]:
        for family in text_string_to_metric_families(text):
            ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
            exposed |= {family.name + end for end in ends}
    asked = {name: place for place, expression in expressions() for name in read(expression).metrics}
    assert {name: place for name, place in asked.items() if name not in exposed} == {}
