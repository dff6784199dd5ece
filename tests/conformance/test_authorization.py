"""Who may see what, on the wire and by the commands (RFC 5025, RFC 3856, RFC 3857; rows POL, PRS, SUB-10, WIN)."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from typer.testing import CliRunner, Result

from tests.conformance.digest_client import digest, subscribes, user
from tests.conformance.observed import notes, tuples
from tests.integration.watching import SHOW_ALL, rule, ruleset, with_sphere
from tests.phone import Dialog, MakePhone, Message, Phone, learn, pidf, token
from tests.running_set import RunningSet, started
from tests.watcherinfo import read
from vedette.identity import presentity
from vedette.rules.permissions import Handling
from vedette.store.authorization import decide_by_hand
from vedette_cli.main import app
from vedette_cli.supervisor.control import ask

WINFO = "presence.winfo"
WINFO_TYPE = "application/watcherinfo+xml"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def asking_set() -> AsyncIterator[RunningSet]:
    """One that asks before it shows anybody to others, and whose rules may ask for the sphere."""
    extra = {"VEDETTE_DEFAULT_RULE": "confirm", "VEDETTE_ENABLE_SPHERE_CHECK": "1"}
    async with started("--cores", "1", extra=extra) as running:
        yield running


def someone() -> str:
    return f"sip:{token('alice')}@example.com"


async def vedette(running: RunningSet, *arguments: str) -> Result:
    """What a command says that works on the set's database, without a process for it."""
    result = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--data", str(running.data)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


async def put(running: RunningSet, folder: Path, uri: str, document: bytes, *options: str) -> Result:
    """`vedette rules put`."""
    file = folder / "rules.xml"
    file.write_bytes(document)
    result = await vedette(running, "rules", "put", uri, str(file), *options)
    assert result.exit_code == 0, result.output
    return result


async def subscribe(phone: Phone, uri: str, *, event: str = "presence", **fields: object) -> tuple[Dialog, Message]:
    """The dialog and the response to its SUBSCRIBE."""
    dialog = phone.dialog(uri)
    accept = {WINFO: WINFO_TYPE, "presence": "application/pidf+xml"}.get(event)
    response = await phone.request(phone.subscribe(dialog, event=event, accept=accept, **fields))  # type: ignore[arg-type]
    learn(dialog, response) if response.status < 300 else None
    return dialog, response


def named(handling: str, *phones: Phone, shows: str = SHOW_ALL) -> str:
    """A rule for these phones."""
    ones = "".join(f'<one id="{phone.aor}"/>' for phone in phones)
    return rule(handling, conditions=f"<identity>{ones}</identity>", shows=shows, id_=token("r"))


async def test_pol_08_pol_09_pol_10_pol_11_prs_06_prs_07_prs_08_sub_01_sub_10_each_handling(
    running_set: RunningSet, make_phone: MakePhone, tmp_path: Path
) -> None:
    uri = someone()
    bob, carol, dave, erin = [await make_phone(running_set) for _ in range(4)]
    rules = ruleset(named("allow", bob), named("confirm", carol), named("polite-block", dave), named("block", erin))
    assert (await put(running_set, tmp_path, uri, rules)).output.startswith(f"created the rules of {uri}")
    etag = (await bob.request(bob.publish(uri, body=pidf(uri, note="here"))))["sip-etag"]
    answers = [(await subscribe(phone, uri))[1] for phone in (bob, carol, dave, erin)]
    assert [answer.status for answer in answers] == [200, 200, 200, 403]
    allowed, pending, polite = [await phone.next_notify() for phone in (bob, carol, dave)]
    assert (allowed.state, notes(allowed.body)) == ("active", ["here"])
    assert (pending.state, pending.body, "content-type" in pending) == ("pending", b"", False)
    assert (polite.state, list(tuples(polite.body).values()), notes(polite.body)) == ("active", ["closed"], [])
    assert (await bob.request(bob.publish(uri, body=pidf(uri, note="there"), if_match=etag))).status == 200
    assert notes((await bob.next_notify()).body) == ["there"]
    assert (await put(running_set, tmp_path, uri, ruleset(named("allow", bob, carol, dave)))).exit_code == 0
    for phone in (carol, dave):
        notify = await phone.next_notify()
        assert (notify.state, notes(notify.body)) == ("active", ["there"])
    assert bob.requests.empty(), "he sees what he saw"


async def test_pol_28_prs_09_prs_10_pol_13_win_08_win_19_changed_rules_are_told_to_watchers_and_owner(
    running_set: RunningSet, make_phone: MakePhone, tmp_path: Path
) -> None:
    uri = someone()
    owner, bob, carol, dave = [await make_phone(running_set) for _ in range(4)]
    await put(running_set, tmp_path, uri, ruleset(named("confirm", bob, carol), named("allow", dave)))
    for phone in (bob, carol, dave):
        await subscribe(phone, uri)
        await phone.next_notify()
    _, response = await subscribe(owner, uri, event=WINFO)
    assert response.status == 202
    first = read((await owner.next_notify()).body)
    assert sorted(first.what) == sorted(
        [(bob.aor, "pending", "subscribe"), (carol.aor, "pending", "subscribe"), (dave.aor, "active", "subscribe")]
    )
    await put(running_set, tmp_path, uri, ruleset(named("allow", bob), named("confirm", dave)))
    states = [(await phone.next_notify())["subscription-state"].split(";expires")[0] for phone in (bob, carol, dave)]
    assert states == ["active", "terminated;reason=rejected", "pending"]
    wanted = {
        (bob.aor, "active", "approved"),
        (carol.aor, "terminated", "rejected"),
        (dave.aor, "pending", "subscribe"),
    }
    told: set[tuple[str, str, str]] = set()
    while not wanted <= told:
        told |= set(read((await owner.next_notify()).body).what)


async def test_prs_17_rules_name_whom_a_watcher_has_proved_to_be_and_an_alias_is_somebody_else(
    digest_set: RunningSet, make_phone: MakePhone, tmp_path: Path
) -> None:
    uri = someone()
    bob, alias = await user(make_phone, digest_set), await user(make_phone, digest_set)
    await put(digest_set, tmp_path, uri, ruleset(named("allow", alias), named("block", bob)))
    proof = await digest(bob)
    assert (await subscribes(bob, bob.dialog(uri), proof)).start == "SIP/2.0 403 Not allowed to watch"
    own = bob.aor
    bob.aor = alias.aor
    assert (await subscribes(bob, bob.dialog(uri), proof)).status == 403, "what From says makes nobody another one"
    assert (await subscribes(alias, alias.dialog(uri), await digest(alias))).status == 200
    assert (await alias.next_notify()).state == "active"
    bob.aor = own
    await put(digest_set, tmp_path, uri, ruleset(named("allow", bob)))
    assert (await subscribes(bob, bob.dialog(uri), proof)).status == 200
    assert (await bob.next_notify()).state == "active"
    assert (await alias.next_notify())["subscription-state"] == "terminated;reason=rejected"


async def test_a_decision_by_hand_is_told_at_once(
    running_set: RunningSet, make_phone: MakePhone, tmp_path: Path
) -> None:
    uri = someone()
    bob = await make_phone(running_set)
    await put(running_set, tmp_path, uri, ruleset(rule("confirm")))
    dialog, _ = await subscribe(bob, uri)
    assert (await bob.next_notify()).state == "pending"
    url = (await asyncio.to_thread(ask, running_set.data, {"command": "stores"}))["db_url"]
    connection = await asyncpg.connect(url)
    try:
        who = (bob.user, "example.com")
        assert await decide_by_hand(connection, presentity(uri, "presence"), who, Handling.ALLOW)
        assert (await bob.next_notify()).state == "active"
        assert await decide_by_hand(connection, presentity(uri, "presence"), who, Handling.BLOCK)
    finally:
        await connection.close()
    assert (await bob.next_notify())["subscription-state"] == "terminated;reason=rejected"
    assert (await bob.request(bob.subscribe(dialog))).status == 481
    assert (await subscribe(bob, uri))[1].status == 403


async def test_win_04_only_the_owner_and_whom_the_rules_name_may_watch_the_watchers(
    running_set: RunningSet, make_phone: MakePhone, tmp_path: Path
) -> None:
    uri = someone()
    bob = await make_phone(running_set)

    def asks() -> bytes:
        request = bob.subscribe(bob.dialog(uri), event=WINFO, accept=WINFO_TYPE)
        return request.replace(f"From: <{uri}>".encode(), f"From: <{bob.aor}>".encode())

    assert (await bob.request(asks())).status == 403
    await put(running_set, tmp_path, uri, ruleset(named("allow", bob)), "--event", WINFO)
    assert (await bob.request(asks())).status == 202
    assert (await bob.next_notify()).state == "active"


async def test_own_mailbox_and_calls_within_the_domain(running_set: RunningSet, make_phone: MakePhone) -> None:
    uri = someone()
    bob = await make_phone(running_set)
    own, other = [bob.subscribe(bob.dialog(uri), event="message-summary", accept=None) for _ in range(2)]
    other = other.replace(f"From: <{uri}>".encode(), f"From: <{bob.aor}>".encode())
    assert [(await bob.request(request)).status for request in (other, own)] == [403, 200]
    assert (await subscribe(bob, uri, event="dialog"))[1].status == 200
    bob.aor = f"sip:{bob.user}@example.net"
    assert (await subscribe(bob, uri, event="dialog"))[1].status == 403


async def test_parameter_default_rule_confirm_parameter_enable_sphere_check_1_a_sphere_lets_in(
    asking_set: RunningSet, make_phone: MakePhone, tmp_path: Path
) -> None:
    uri = someone()
    alice, bob = await make_phone(asking_set), await make_phone(asking_set)
    alice.aor = uri
    await subscribe(alice, uri)
    assert (await alice.next_notify()).state == "active", "nobody is kept from his own state"
    await subscribe(bob, uri)
    assert (await bob.next_notify()).state == "pending"
    working = rule("allow", conditions='<sphere value="work"/>')
    await put(asking_set, tmp_path, uri, ruleset(working, rule("confirm")))
    etag = None
    for sphere, state in (("work", "active"), ("home", "pending"), ("work", "active")):
        response = await alice.request(alice.publish(uri, body=with_sphere(sphere), if_match=etag))
        etag = response["sip-etag"]
        assert (await bob.next_notify()).state == state


async def test_rules_are_put_listed_tried_and_removed_by_the_command(
    running_set: RunningSet, make_phone: MakePhone, tmp_path: Path
) -> None:
    uri = someone()
    bob = await make_phone(running_set)
    await bob.published(uri)
    await subscribe(bob, uri)
    await bob.next_notify()
    document = ruleset(rule("polite-block"))
    tried = await put(running_set, tmp_path, uri, document, "--dry-run")
    assert tried.output == f"loses  {bob.aor}  presence: sees everything -> sees somebody who is offline\n"
    assert (await vedette(running_set, "rules", "list", uri)).output == ""
    assert (await put(running_set, tmp_path, uri, document)).output.startswith("created the rules of ")
    assert (await put(running_set, tmp_path, uri, document)).output.startswith("replaced the rules of ")
    (line,) = (await vedette(running_set, "rules", "list", uri, "--json")).output.splitlines()
    listed = json.loads(line)
    assert (listed["event"], listed["name"], listed["rules"], listed["octets"]) == (
        "presence", "index", 1, len(document),
    )  # fmt: skip
    assert (await vedette(running_set, "rules", "get", uri)).stdout_bytes == document
    tried = await vedette(running_set, "rules", "delete", uri, "--dry-run")
    assert tried.output.startswith(f"gains  {bob.aor}")
    bare = await put(running_set, tmp_path, uri, ruleset(rule("allow", shows="")))
    assert "allowed watchers see nothing" in bare.output
    text = (await vedette(running_set, "explain", uri, "--seen-by", bob.aor)).output
    assert text.startswith(f"{bob.aor} sees nothing of {uri} (presence)\n")
    assert (await vedette(running_set, "rules", "delete", uri)).exit_code == 0
    gone = await vedette(running_set, "rules", "get", uri)
    assert (gone.exit_code, gone.output) == (1, f"{uri} has no rules 'index' for presence\n")
    (tmp_path / "bad.xml").write_bytes(b"<ruleset xmlns='urn:ietf:params:xml:ns:common-policy'>\n<rul/>\n</ruleset>")
    bad = await vedette(running_set, "rules", "put", uri, str(tmp_path / "bad.xml"))
    assert bad.exit_code == 2
    assert "line 2" in bad.output
    assert bad.output.endswith("nothing was changed\n")


async def test_explain_says_which_rule_decided_what_was_left_out_and_what_is_seen(
    running_set: RunningSet, make_phone: MakePhone, tmp_path: Path
) -> None:
    uri = someone()
    bob = await make_phone(running_set)
    await bob.request(bob.publish(uri, body=with_sphere("work")))

    async def explained(who: str, *options: str) -> dict[str, object]:
        result = await vedette(running_set, "explain", uri, "--seen-by", who, "--json", *options)
        assert result.exit_code == 0, result.output
        found: dict[str, object] = json.loads(result.output)
        return found

    assert (await explained(bob.aor))["basis"] == "default"
    service = "<pr:provide-services><pr:all-services/></pr:provide-services>"
    rules = ruleset(named("allow", bob, shows=service), rule("confirm", "somebody"))
    await put(running_set, tmp_path, uri, rules)
    found = await explained(bob.aor)
    assert (found["status"], found["basis"], len(found["matched"])) == ("active", "rules", 1)  # type: ignore[arg-type]
    assert "person" in str(found["removed"])
    assert (await subscribe(bob, uri))[1].status == 200
    assert str(found["document"]).encode() == (await bob.next_notify()).body
    assert (await explained("sip:somebody@example.net"))["status"] == "pending"
    assert (await explained("anonymous"))["status"] == "terminated"
    assert (await explained(uri))["basis"] == "own"
    assert (await explained(bob.aor, "--event", "message-summary"))["status"] == "terminated"
    text = (await vedette(running_set, "explain", uri, "--seen-by", bob.aor)).output
    assert text.splitlines()[0] == f"{bob.aor} sees a part of {uri} (presence)"
    out = (await vedette(running_set, "explain", uri, "--seen-by", "sip:somebody@example.org")).output
    assert out.startswith(f"sip:somebody@example.org is not let in by {uri} (presence)\n")
    assert "  left out: " in text
    assert "</presence>" in text
    assert "identity: does not name" in text


async def test_vedette_up_says_that_everybody_is_seen(running_set: RunningSet, asking_set: RunningSet) -> None:
    said = [line for line in running_set.output if "default_rule=allow" in line]
    assert len(said) == 1
    assert not any("default_rule" in line for line in asking_set.output)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_win_16_a_politely_blocked_watcher_is_shown_as_active(
    running_set: RunningSet, make_phone: MakePhone, tmp_path: Path, transport: str
) -> None:
    uri = someone()
    bob, owner = await make_phone(running_set, transport=transport), await make_phone(running_set)
    await put(running_set, tmp_path, uri, ruleset(rule("polite-block")))
    await subscribe(bob, uri)
    await bob.next_notify()
    await subscribe(owner, uri, event=WINFO)
    assert read((await owner.next_notify()).body).what == [(bob.aor, "active", "subscribe")]
