"""Logs of all services, a JSON object on each line; and what `vedette trace` shows of one dialog."""

import asyncio
import json
from typing import Any

import pytest

from tests.phone import MakePhone, pidf, token
from tests.running_set import RunningSet
from tests.wait import until
from vedette_cli.supervisor.folders import Folders

pytestmark = pytest.mark.asyncio(loop_scope="session")

SERVICES = {"edge", "core", "notifier"}


def logged(running: RunningSet) -> dict[str, list[dict[str, Any]]]:
    """The lines of each process, read."""
    files = Folders(running.data).logs.glob("*-0.log")
    return {
        path.name.partition("-")[0]: [
            json.loads(line)
            for line in path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()  # the last may be a part
            if line
        ]
        for path in files
        if path.name.partition("-")[0] in {*SERVICES, "api"}
    }


async def traced(running: RunningSet, call_id: str, *whats: str) -> dict[str, Any]:
    """The trace of a Call-ID, once all of these are in it."""

    async def found() -> dict[str, Any] | None:
        trace: dict[str, Any] = await running.get(f"/api/v1/trace/{call_id}")
        return trace if set(whats) <= {event["what"] for event in trace["events"]} else None

    trace = await until(found, f"{whats} are remembered")
    assert trace is not None
    return trace


async def test_one_subscription_can_be_followed_in_the_logs_of_all_services(
    observed_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(observed_set), await make_phone(observed_set)
    note = token("unheard")
    await alice.published(body=pidf(alice.aor, note=note))
    dialog, _ = await bob.subscribed(alice.aor)

    def traces() -> dict[str, set[str]]:
        return {
            service: {line["trace"] for line in lines if line.get("call_id") == dialog.call_id and line.get("trace")}
            for service, lines in logged(observed_set).items()
        }

    async def everywhere() -> bool:
        found = traces()
        subscribe, notify = found["edge"] & found["core"], found["edge"] & found["notifier"]
        return bool(subscribe) and bool(notify)

    await until(everywhere, "edge and core have logged the SUBSCRIBE, notifier and edge the NOTIFY")
    lines = logged(observed_set)
    for service in SERVICES:
        for line in lines[service]:
            assert {"event", "level", "timestamp", "service", "instance"} <= line.keys()
    text = json.dumps(lines)
    assert note not in text, "bodies are nobody's business"
    for secret in await asyncio.to_thread(secrets_of, observed_set):
        assert secret not in text


def secrets_of(running: RunningSet) -> list[str]:
    found = [path.read_text(encoding="ascii").strip() for path in Folders(running.data).secrets.iterdir()]
    assert all(len(secret) > 10 for secret in found)
    return found


async def test_a_refusal_is_logged_with_who_was_refused_and_what(
    observed_set: RunningSet, make_phone: MakePhone
) -> None:
    alice = await make_phone(observed_set)
    call_id = token()
    await alice.request(alice.publish(if_match="nothing.1", call_id=call_id))
    lines = logged(observed_set)["edge"]
    [line] = [line for line in lines if line["event"] == "request refused" and line["call_id"] == call_id]
    assert (line["level"], line["method"], line["status"], line["aor"]) == ("info", "PUBLISH", 412, alice.aor)


async def test_the_ladder_of_a_dialog_goes_through_all_services(
    observed_set: RunningSet, make_phone: MakePhone
) -> None:
    alice, bob = await make_phone(observed_set), await make_phone(observed_set)
    dialog, _ = await bob.subscribed(alice.aor)
    await alice.published(body=pidf(alice.aor, note="seen"))
    await bob.notify_where(lambda notify: b"seen" in notify.body)

    async def both_settled() -> dict[str, Any] | None:
        trace: dict[str, Any] = await observed_set.get(f"/api/v1/trace/{dialog.call_id}")
        settled = [event["what"] for event in trace["events"]].count("settled") >= 2
        return trace if settled and not trace["silent"] else None

    trace = await until(both_settled, "both NOTIFYs are settled, and all have told")
    assert trace is not None
    # A busy machine takes longer than T1 to answer.
    whats = [event["what"] for event in trace["events"] if event["what"] not in ("again", "repeated")]
    expected = ["request", "to core", "decided", "from core", "answer"]
    assert [what for what in whats if what in expected] == expected
    last = whats[len(whats) - 1 - whats[::-1].index("claimed") :]
    assert last == ["claimed", "handed over", "notify", "answered", "settled"]
    [subscription] = trace["subscriptions"]
    assert (subscription["presentity"], subscription["call_id"]) == (alice.aor, dialog.call_id)

    shown = await observed_set.command("trace", dialog.call_id, "--data", str(observed_set.data))
    assert f"SUBSCRIBE 1 from udp:{bob.local[0]}:{bob.local[1]}" in shown
    assert "200 to SUBSCRIBE 1" in shown
    assert f"watches {alice.aor} (presence), active" in shown
    assert (
        json.loads(await observed_set.command("trace", dialog.call_id, "--json", "--data", str(observed_set.data)))[
            "call_id"
        ]
        == dialog.call_id
    )


async def test_repetitions_and_timers_are_in_the_ladder(observed_set: RunningSet, make_phone: MakePhone) -> None:
    alice, bob = await make_phone(observed_set), await make_phone(observed_set)
    bob.answer = lambda _: None
    dialog = bob.dialog(alice.aor)
    data = bob.subscribe(dialog)
    await bob.request(data)
    await bob.request(data)
    trace = await traced(observed_set, dialog.call_id, "repeated", "again", "no answer", "settled")
    details = " ".join(event["detail"] for event in trace["events"])
    assert "Timer E" in details
    assert "no answer (Timer F)" in details
    assert "ended" in details
    assert trace["subscriptions"] == [], "it was ended"


async def test_a_publish_is_traced_by_its_own_call_id(observed_set: RunningSet, make_phone: MakePhone) -> None:
    alice = await make_phone(observed_set)
    call_id = f"{token()}/with@slash"
    await alice.request(alice.publish(body=pidf(alice.aor), call_id=call_id))
    trace = await traced(observed_set, call_id, "request", "to core", "decided", "answer")
    assert len({event["trace"] for event in trace["events"] if event["trace"]}) == 1


async def test_of_a_call_id_that_nobody_knows_nothing_is_shown(observed_set: RunningSet) -> None:
    async def all_told() -> dict[str, Any] | None:
        trace: dict[str, Any] = await observed_set.get(f"/api/v1/trace/{token()}")
        return None if trace["silent"] else trace

    trace = await until(all_told, "all processes have told what they remember")
    assert trace is not None
    assert (trace["events"], trace["subscriptions"]) == ([], [])
    with pytest.raises(AssertionError, match="no process remembers"):
        await observed_set.command("trace", token(), "--data", str(observed_set.data))
