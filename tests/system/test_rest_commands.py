"""The commands that ask REST, on the shared set: tables, JSON, pages, refusals and exit codes."""

import asyncio
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest_asyncio
from typer.testing import CliRunner

from tests.integration.watching import rule, ruleset
from tests.phone import MakePhone, Phone, pidf, token
from tests.ports import free_port
from tests.running_set import RunningSet, run
from tests.wait import until
from vedette_cli.main import app

NO_VARIABLES = dict.fromkeys(("VEDETTE_TOKEN", "VEDETTE_TOKEN_FILE", "VEDETTE_API"))


async def vedette(*arguments: str, extra: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Exit code, output and errors of a command, called here: a process for each would take most of the time."""
    variables: dict[str, str | None] = {**NO_VARIABLES, **(extra or {})}
    ran = await asyncio.to_thread(
        CliRunner().invoke, app, list(arguments), prog_name="vedette", env=variables, catch_exceptions=False
    )
    return ran.exit_code, ran.stdout, ran.stderr


@dataclass
class Told:
    """Somebody who published, and somebody who watches."""

    running: RunningSet
    alice: Phone
    bob: Phone
    subscription: str
    publication: str = ""
    words: dict[str, str] = field(default_factory=dict)

    async def ask(self, *arguments: str, extra: dict[str, str] | None = None) -> tuple[int, str, str]:
        """What a command does on the set."""
        return await vedette(
            *(part.format(**self.words) for part in arguments), "--api", self.running.api, extra=extra
        )

    async def json(self, *arguments: str) -> list[dict[str, Any]]:
        """The lines of a command with --json."""
        code, out, err = await self.ask(*arguments, "--json")
        assert code == 0, err
        return [json.loads(line) for line in out.splitlines()]


@pytest_asyncio.fixture(loop_scope="function")
async def told(running_set: RunningSet, make_phone: MakePhone) -> Told:
    alice, bob = await make_phone(running_set, token("alice")), await make_phone(running_set, token("bob"))
    await alice.published()
    dialog, _ = await bob.subscribed(alice.aor)
    assert dialog.to_tag is not None
    made = Told(running_set, alice, bob, dialog.to_tag)
    (publication,) = await made.json("publication", "list", "--presentity", alice.aor)
    replicas = await made.json("replica", "list")
    made.words = {
        "alice": alice.aor,
        "bob": bob.aor,
        "subscription": dialog.to_tag,
        "publication": publication["id"],
        "instance": replicas[0]["instance"],
    }
    return made


READING = [
    (["presentity", "list", "--search", "{alice}"], "URI", "{alice}"),
    (["presentity", "list", "--prefix", "{alice}", "--event", "presence"], "URI", "{alice}"),
    (["presentity", "show", "{alice}"], "WATCHER", "{bob}"),
    (["publication", "list", "--presentity", "{alice}"], "PRESENTITY", "{publication}"),
    (["publication", "show", "{publication}"], "etag", "{alice}"),
    (["subscription", "list", "--presentity", "{alice}"], "WATCHER", "{subscription}"),
    (["subscription", "list", "--watcher", "{bob}", "--status", "active"], "WATCHER", "{subscription}"),
    (["subscription", "show", "{subscription}"], "call_id", "{bob}"),
    (["watcher", "show", "{alice}", "{bob}"], "basis", "{bob}"),
    (["replica", "list"], "INSTANCE", "{instance}"),
    (["replica", "list", "--service", "notifier"], "INSTANCE", "notifier"),
    (["replica", "show", "{instance}"], "uptime", "{instance}"),
    (["queue"], "changes_due", "notifies_outstanding"),
    (["settings", "max_expires"], "PARAMETER", "3600"),
    (["package", "list"], "NAME", "message-summary"),
    (["audit", "list", "--limit", "5"], "", ""),
]


async def test_each_list_and_each_show_is_read_by_people_and_by_programs(told: Told) -> None:
    for arguments, title, expected in READING:
        code, out, err = await told.ask(*arguments)
        assert code == 0, (arguments, err)
        assert title in out, (arguments, out)
        assert expected.format(**told.words) in out, (arguments, out)
        lines = await told.json(*arguments)
        assert arguments[:2] == ["audit", "list"] or lines, arguments
        assert all(isinstance(line, dict) for line in lines)
        assert expected.format(**told.words) in json.dumps(lines), arguments


async def test_a_subscription_is_sent_again_and_ended(told: Told) -> None:
    async def answered() -> bool:
        (shown,) = await told.json("subscription", "show", "{subscription}")
        return not shown["notify_outstanding"]

    await until(answered, "the outcome of the NOTIFY is known")
    assert await told.json("subscription", "resend", "{subscription}") == [{"notify": "owed"}]
    await told.bob.next_notify()
    await until(answered, "the outcome of the NOTIFY is known")
    assert "1 NOTIFYs are owed" in (await told.ask("watcher", "refresh", "{alice}"))[1]
    await told.bob.next_notify()
    code, out, _ = await told.ask("subscription", "terminate", "{subscription}", "--reason", "rejected")
    assert (code, out) == (0, "ended (rejected); its watcher is told\n")
    last = await told.bob.next_notify()
    assert "reason=rejected" in last["subscription-state"]
    assert (await told.ask("subscription", "show", "{subscription}"))[0] == 1
    (entry, *_) = await told.json("audit", "list", "--target", "{subscription}")
    assert entry["operation"] == "terminate_subscription"


async def test_a_publication_is_made_refreshed_replaced_and_removed(told: Told, tmp_path: Path) -> None:
    key = ["--idempotency-key", token("key")]
    create = ["publication", "create", "{alice}", "--note", "by [b]command[/b]", "--activity", "meeting", *key]
    (made,) = await told.json(*create)
    assert (await told.json(*create)) == [made]
    await told.bob.notify_where(lambda notify: b"by [b]command[/b]" in notify.body)
    assert "by [b]command[/b]" in (await told.ask("publication", "show", made["id"]))[1]
    (refreshed,) = await told.json(
        "publication", "refresh", made["id"], "--expires", "300", "--if-match", made["etag"]
    )
    assert refreshed["etag"] != made["etag"]
    stale = await told.ask("publication", "refresh", made["id"], "--if-match", made["etag"])
    assert stale[0] == 1
    body = tmp_path / "body"
    body.write_bytes(pidf(told.alice.aor, note="from a file"))
    (replaced,) = await told.json("publication", "replace", made["id"], "--body", str(body))
    await told.bob.notify_where(lambda notify: b"from a file" in notify.body)
    code, out, _ = await told.ask("publication", "remove", made["id"], "--if-match", replaced["etag"])
    assert (code, out) == (0, f"removed {made['id']}\n")
    assert (await told.ask("publication", "remove", made["id"]))[0] == 1
    (raw,) = await told.json("publication", "create", "{alice}", "--body", str(body), "--expires", "60")
    assert raw["expires_in"] <= 60


async def test_watchers_are_blocked_approved_and_left_to_the_rules(told: Told) -> None:
    whose = ["{alice}", "{bob}"]
    code, out, _ = await told.ask("watcher", "block", *whose)
    assert (code, out) == (0, f"{told.bob.aor} may not watch ({told.alice.aor}, presence)\n")
    last = await told.bob.notify_where(lambda notify: notify["subscription-state"].startswith("terminated"))
    assert "reason=rejected" in last["subscription-state"]
    by_hand = ["watcher", "list", "--presentity", "{alice}", "--by-hand"]
    (row,) = await told.json(*by_hand, "--status", "rejected")
    assert (row["watcher"], row["by_hand"]) == (told.bob.aor, True)
    assert "BY HAND" in (await told.ask(*by_hand))[1]
    assert (await told.ask("watcher", "block", *whose))[1].endswith(", as before\n")
    (found,) = await told.json("watcher", "block", *whose, "--polite")
    assert (found["decision"], found["changed"]) == ("polite-block", True)
    assert "may watch" in (await told.ask("watcher", "approve", *whose))[1]
    (shown,) = await told.json("watcher", "show", *whose)
    assert shown["basis"] == "hand"
    assert "left to the rules" in (await told.ask("watcher", "reset", *whose))[1]
    assert await told.json(*by_hand) == []


async def test_users_are_kept_over_rest_as_in_the_database(told: Told, tmp_path: Path) -> None:
    name = f"{token('user')}@rest.example.com"
    password = tmp_path / "password"
    password.write_text("secret")
    with_password = [name, "--password-file", str(password)]
    assert (await told.ask("user", "add", *with_password))[:2] == (0, f"added {name}\n")
    code, _, err = await told.ask("user", "add", *with_password)
    assert (code, "there" in err) == (1, True)
    assert (await told.ask("user", "passwd", *with_password))[0] == 0
    found = await told.json("user", "list", "--domain", "rest.example.com")
    in_database = ("user", "list", "--domain", "rest.example.com", "--json", "--data", str(told.running.data))
    assert found == [json.loads(line) for line in (await vedette(*in_database))[1].splitlines()]
    assert name in (await told.ask("user", "list"))[1]
    assert (await told.ask("user", "remove", name))[:2] == (0, f"removed {name}\n")
    assert (await told.ask("user", "remove", name))[0] == 1


async def test_rules_are_put_got_listed_and_removed_over_rest_as_in_the_database(told: Told, tmp_path: Path) -> None:
    file, bad = tmp_path / "rules.xml", tmp_path / "bad.xml"
    file.write_bytes(ruleset(rule("block", conditions=f'<identity><one id="{told.bob.aor}"/></identity>', id_="bob")))
    bad.write_bytes(b"<ruleset>")
    put = ["rules", "put", "{alice}", str(file)]
    code, out, err = await told.ask(*put, "--dry-run")
    assert code == 0, err
    assert out.startswith(f"loses  {told.bob.aor}  presence: ")
    assert (await told.ask("rules", "list", "{alice}"))[:2] == (0, "")
    said = f"created the rules of {told.alice.aor} for presence (1 in index)\n"
    assert (await told.ask(*put))[:2] == (0, said)
    last = await told.bob.notify_where(lambda notify: notify["subscription-state"].startswith("terminated"))
    assert "reason=rejected" in last["subscription-state"]
    in_database = ("rules", "list", told.alice.aor, "--data", str(told.running.data))
    (shown,) = await told.json("rules", "list", "{alice}")
    assert shown == json.loads((await vedette(*in_database, "--json"))[1])
    assert (await told.ask("rules", "list", "{alice}"))[1] == (await vedette(*in_database))[1]
    assert await told.json("rules", "list", "{alice}", "--event", "dialog") == []
    assert (await told.ask("rules", "get", "{alice}"))[1].encode() == file.read_bytes()
    assert (await told.ask("rules", "put", "{alice}", str(bad)))[0] == 2
    (audited, *_) = await told.json("audit", "list", "--target", "{alice}")
    assert audited["operation"] == "put_rules_document"
    assert (await told.ask("rules", "delete", "{alice}", "--dry-run"))[0] == 0
    assert await told.json("rules", "list", "{alice}") == [shown]
    removed = f"removed the rules of {told.alice.aor} for presence\n"
    assert (await told.ask("rules", "delete", "{alice}"))[:2] == (0, removed)
    for gone in ("get", "delete"):
        code, _, err = await told.ask("rules", gone, "{alice}")
        assert (code, "has no rules 'index'" in err) == (1, True)


async def test_lists_are_followed_over_their_pages_and_say_where_they_stop(told: Told, monkeypatch: Any) -> None:
    monkeypatch.setattr("vedette_cli.rest.client.LARGEST_PAGE", 2)
    ids = {(await told.bob.subscribed(f"sip:{token()}@example.com"))[0].to_tag for _ in range(4)}
    found = await told.json("subscription", "list", "--watcher", "{bob}")
    assert {row["id"] for row in found} == ids | {told.subscription}
    for arguments in ([], ["--json"]):
        code, out, err = await told.ask("subscription", "list", "--watcher", "{bob}", "--limit", "3", *arguments)
        assert code == 0
        assert len(out.splitlines()) == (3 if arguments else 4)
        assert err == "there are more than 3: see --limit\n"
    assert (await told.ask("subscription", "list", "--watcher", "{bob}", "--limit", "5"))[2] == ""
    assert (await told.ask("subscription", "list", "--watcher", "sip:nobody@example.com"))[1] == "none\n"


async def test_what_others_write_does_not_steer_the_terminal(told: Told) -> None:
    name = token("esc")
    await told.json("publication", "create", f"sip:{name}@example.com", "--note", "a\u009b31mb\u202e")
    shown = await told.ask("presentity", "show", f"sip:{name}@example.com")
    assert "\\x9b31mb\\u202e" in shown[1]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown[1])


REFUSALS = [
    (["presentity", "show", "sip:"], {}, 2, "not a SIP URI"),
    (["watcher", "list", "--presentity", "a b@"], {}, 2, "not a SIP URI"),
    (["watcher", "approve", "sip:a@example.com", "nobody at all"], {}, 2, "not a SIP URI"),
    (["presentity", "show", "sip:nobody-at-all@example.com"], {}, 1, "nothing is known"),
    (["subscription", "show", "../../users"], {}, 1, "no such resource"),
    (["subscription", "terminate", "x", "--reason", "boredom"], {}, 2, "--reason"),
    (["subscription", "list", "--limit", "-1"], {}, 2, "--limit"),
    (["publication", "show", "nothing"], {}, 1, "no publication"),
    (["publication", "create", "sip:a@example.com", "--event", "dialog"], {}, 2, "--body"),
    (["publication", "create", "sip:a@example.com", "--body", "/nonexistent"], {}, 2, "cannot read /nonexistent"),
    (["publication", "create", "sip:a@example.com", "--idempotency-key", "a\nb"], {}, 2, "--idempotency-key"),
    (["replica", "show", "nothing"], {}, 1, "0 instances"),
    (["queue"], {"VEDETTE_TOKEN": "vdt_wrong"}, 4, "VEDETTE_TOKEN"),
    (["queue"], {"VEDETTE_TOKEN": "two words"}, 2, "characters"),
    (["queue", "--token-file", "/nonexistent"], {}, 2, "cannot read /nonexistent"),
]


async def test_what_is_refused_says_why_and_ends_with_its_code(told: Told) -> None:
    for arguments, extra, expected, said in REFUSALS:
        code, out, err = await told.ask(*arguments, extra=extra)
        assert (code, out) == (expected, ""), (arguments, out, err)
        assert said in err, (arguments, err)
        assert "Traceback" not in err


async def test_a_token_comes_from_a_file_that_only_its_owner_reads(told: Told, tmp_path: Path) -> None:
    name = token("reader")
    secret = (await vedette("token", "create", name, "--data", str(told.running.data)))[1].strip()
    file = tmp_path / "token"
    file.write_text(secret)
    file.chmod(0o644)
    with_file = ("--token-file", str(file))
    code, _, err = await told.ask("queue", *with_file)
    assert (code, f"chmod 600 {file}" in err) == (2, True)
    file.chmod(0o600)
    assert (await told.ask("queue", *with_file))[0] == 0
    assert (await told.ask("queue", extra={"VEDETTE_TOKEN_FILE": str(file)}))[0] == 0
    code, _, err = await told.ask("cleanup", *with_file)
    assert (code, "needs the role admin" in err) == (4, True)
    assert secret not in err
    file.write_text("\n")
    assert (await told.ask("queue", *with_file))[0] == 2


async def test_no_server_wrong_address_and_a_folder_without_a_set(running_set: RunningSet, tmp_path: Path) -> None:
    gone = f"http://127.0.0.1:{free_port()}"
    code, _, err = await vedette("queue", "--api", gone)
    assert (code, err) == (3, f"{gone} does not answer: Connection refused\n")
    assert (await vedette("queue", extra={"VEDETTE_API": gone}))[0] == 3
    assert (await vedette("queue", "--data", str(tmp_path)))[0] == 3
    assert (await vedette("queue", "--data", str(running_set.data)))[0] == 0
    for wrong in ("ftp://127.0.0.1", "http://", "http://a:b@127.0.0.1", "http://127.0.0.1:port"):
        assert (await vedette("queue", "--api", wrong))[0] == 2, wrong
    # an address of SIP is none of REST
    sip = f"http://{running_set.sip_address}"
    assert (await vedette("queue", "--api", sip))[0] in {1, 2, 3}


async def test_a_process_of_its_own_does_the_same(running_set: RunningSet) -> None:
    code, out, err = await run("cleanup", "--data", str(running_set.data), "--json")
    assert (code, err) == (0, "")
    assert set(json.loads(out)) == {"ended", "removed"}
    code, out, err = await run("presentity", "show", "sip:nobody-at-all@example.com", "--data", str(running_set.data))
    assert (code, out) == (1, "")
    assert err.count("\n") == 1


async def test_registrations_are_listed_shown_and_removed(told: Told) -> None:
    phone = told.bob
    request = phone.subscribe(phone.dialog(phone.aor)).replace(b"SUBSCRIBE", b"REGISTER")
    assert (await phone.request(request)).status == 200
    (shown,) = await told.json("registration", "show", phone.aor)
    assert f"<{shown['contact']}>" == phone.contact
    code, out, _ = await told.ask("registration", "list")
    assert code == 0
    assert re.search(rf"{re.escape(phone.aor)} +{re.escape(shown['contact'])} ", out)
    code, out, _ = await told.ask("registration", "remove", phone.aor, shown["id"])
    assert (code, out) == (0, f"removed a registration of {phone.aor}\n")
    code, _, err = await told.ask("registration", "show", phone.aor)
    assert (code, err) == (1, f"{phone.aor} has not registered\n")
