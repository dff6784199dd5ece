"""`vedette publish` and `vedette watch` as a user runs them: processes, output, exit codes, signals."""

import asyncio
import contextlib
import json
import re
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.phone import MakePhone, Message, pidf, token
from tests.ports import free_port
from tests.running_set import VEDETTE, RunningSet, environment, run
from tests.scripted_server import ScriptedServer, credentials, is_right, reply
from vedette_cli.main import app

PATIENCE = 30.0
BOB = "sip:bob@example.com"


class Command:
    """A `vedette` that goes on until it is told to stop."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        """The next line that it says; "" where it has ended."""
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)).decode().rstrip("\n")

    async def json(self) -> dict[str, Any]:
        """The next line, which is a JSON object."""
        found: dict[str, Any] = json.loads(await self.line())
        return found

    async def end(self, number: signal.Signals | None = None) -> tuple[int, list[str], str]:
        """Exit code, the lines it still said, and errors, after a signal where one is named."""
        if number is not None:
            self.process.send_signal(number)
        out, err = await asyncio.wait_for(self.process.communicate(), PATIENCE)
        assert self.process.returncode is not None
        return self.process.returncode, out.decode().splitlines(), err.decode()


@contextlib.asynccontextmanager
async def started(*arguments: str, extra: dict[str, str] | None = None) -> AsyncIterator[Command]:
    """A command at work; killed where a test leaves it behind."""
    process = await asyncio.create_subprocess_exec(
        *(*VEDETTE, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(extra),
    )
    try:
        yield Command(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def alice() -> str:
    return f"sip:{token('alice')}@example.com"


async def publications(running: RunningSet, uri: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await running.get(f"/api/v1/presentities/{uri}")).get("publication_list", [])
    return found


def only_line(text: str) -> str:
    """The one line that was said."""
    assert text.endswith("\n"), text
    assert text.count("\n") == 1, text
    return text.rstrip("\n")


# publish


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_publish_says_in_one_line_what_it_has_done(running_set: RunningSet, transport: str) -> None:
    uri = alice()
    code, out, err = await run(
        *("publish", uri, "--status", "closed", "--note", "Gone <fishing>", "--activity", "vacation"),
        *("--expires", "120", "--server", running_set.sip_address, "--transport", transport),
    )
    assert (code, err) == (0, "")
    (publication,) = await publications(running_set, uri)
    assert only_line(out) == f"published {uri} for 120 seconds (entity tag {publication['etag']})"
    assert "<basic>closed</basic>" in publication["body"]
    assert "<note>Gone &lt;fishing&gt;</note>" in publication["body"]
    assert "<rpid:vacation/>" in publication["body"]
    assert publication["content_type"] == "application/pidf+xml"


async def test_publish_in_json_and_for_as_long_as_the_server_grants(running_set: RunningSet) -> None:
    uri = alice()
    code, out, _ = await run("publish", uri, "--json", "--expires", "4294967295", "--server", running_set.sip_address)
    assert code == 0
    (publication,) = await publications(running_set, uri)
    assert json.loads(only_line(out)) == {
        "event": "published", "presentity": uri, "etag": publication["etag"], "expires": 3600,
    }  # fmt: skip
    assert "<basic>open</basic>" in publication["body"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
async def test_publish_keep_keeps_the_state_until_it_is_stopped(
    running_set: RunningSet, number: signal.Signals
) -> None:
    uri = alice()
    async with started("publish", uri, "--keep", "--server", running_set.sip_address) as command:
        line = await command.line()
        (publication,) = await publications(running_set, uri)
        assert line == f"published {uri} for 3600 seconds (entity tag {publication['etag']})"
        assert await command.end(number) == (0, [f"removed {uri}"], "")
    assert await publications(running_set, uri) == []


async def test_publish_keep_refreshes_before_the_state_is_forgotten() -> None:
    def script(request: Message) -> bytes:
        return reply(request, 200, f"Expires: {request['expires']}", f"SIP-ETag: {request['cseq'].split()[0]}")

    uri = alice()
    async with ScriptedServer(script).running() as server:
        arguments = ("publish", uri, "--keep", "--json", "--expires", "1", "--server", server.address)
        async with started(*arguments) as command:
            for number in (1, 2, 3):
                assert await command.json() == {
                    "event": "published" if number == 1 else "refreshed",
                    "presentity": uri,
                    "etag": f"{number}",
                    "expires": 1,
                }
            code, lines, err = await command.end(signal.SIGINT)
    assert (code, err) == (0, "")
    assert json.loads(lines[-1]) == {"event": "removed", "presentity": uri, "etag": None, "expires": 0}
    tags = [message.get("sip-if-match") for message in server.requests]
    assert tags == [None, *(str(number) for number in range(1, len(tags)))]
    assert server.requests[-1]["expires"] == "0"


async def test_publish_keep_whose_reader_is_gone_removes_what_it_published() -> None:
    """As in `vedette publish --keep | head -1`."""
    server = ScriptedServer(lambda request: reply(request, 200, f"Expires: {request['expires']}", "SIP-ETag: e"))
    async with server.running():
        arguments = ("publish", alice(), "--keep", "--expires", "1", "--server", server.address)
        async with started(*arguments) as command:
            assert (await command.line()).startswith("published ")
            transport = command.process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]
            transport.close()
            assert await asyncio.wait_for(command.process.wait(), PATIENCE) == 0
            assert command.process.stderr is not None
            assert await command.process.stderr.read() == b""
    first, *refreshes, last = [message["expires"] for message in server.requests]
    assert (first, set(refreshes), last) == ("1", {"1"}, "0")  # once, where the pipe was closed in time


# watch


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_watch_prints_each_state_as_it_arrives(
    running_set: RunningSet, make_phone: MakePhone, transport: str
) -> None:
    phone = await make_phone(running_set, token("alice"))
    arguments = ("watch", phone.aor, "--as", BOB, "--server", running_set.sip_address, "--transport", transport)
    async with started(*arguments) as command:
        now = r"\d\d:\d\d:\d\d"
        assert re.fullmatch(rf"{now} {phone.aor} closed", await command.line())
        note = "first line\n  second line"
        etag = await phone.published(body=pidf(phone.aor, note=note))
        assert re.fullmatch(rf'{now} {phone.aor} open  "first line second line"', await command.line())
        body = pidf(phone.aor).replace(
            b"</presence>",
            b'<person xmlns="urn:ietf:params:xml:ns:pidf:data-model" id="p"><activities '
            b'xmlns="urn:ietf:params:xml:ns:pidf:rpid"><away/><meal/></activities></person></presence>',
        )
        assert (await phone.request(phone.publish(body=body, if_match=etag))).status == 200
        assert re.fullmatch(rf"{now} {phone.aor} open  away  meal", await command.line())
        page = await running_set.get("/api/v1/subscriptions", presentity=phone.aor)
        assert [(item["watcher"], item["transport"]) for item in page["items"]] == [(BOB, transport)]
        code, lines, err = await command.end(signal.SIGINT)
    assert (code, err) == (0, "")
    assert len(lines) == 1
    assert re.fullmatch(rf"{now} {phone.aor} open  away  meal  \(terminated, timeout\)", lines[0])
    assert (await running_set.get("/api/v1/subscriptions", presentity=phone.aor))["items"] == []


async def test_watch_in_json_tells_all_of_a_notify(running_set: RunningSet, make_phone: MakePhone) -> None:
    phone = await make_phone(running_set, token("alice"))
    await phone.published(body=pidf(phone.aor, note="one"))
    await phone.published(body=pidf(phone.aor, basic="closed", note="two"))
    arguments = ("watch", phone.aor, "--as", BOB, "--expires", "300", "--json", "--server", running_set.sip_address)
    async with started(*arguments) as command:
        said = await command.json()
        assert said.pop("time").startswith("20")
        document = said.pop("document")
        assert "one" in document
        assert "two" in document
        assert said.pop("expires") in range(290, 301)
        assert said == {
            "presentity": phone.aor, "subscription": "active", "reason": None, "cseq": 1, "status": "open",
            "activities": [], "notes": ["one", "two"], "tuples": 2,
        }  # fmt: skip
        code, lines, err = await command.end(signal.SIGTERM)
    assert (code, err) == (0, "")
    last = json.loads(lines[-1])
    assert (last["subscription"], last["reason"], last["cseq"]) == ("terminated", "timeout", 2)


async def test_watch_fetch_prints_once_and_ends(running_set: RunningSet, make_phone: MakePhone) -> None:
    phone = await make_phone(running_set, token("alice"))
    await phone.published(body=pidf(phone.aor, note="here"))
    code, out, err = await run("watch", phone.aor, "--as", BOB, "--fetch", "--server", running_set.sip_address)
    assert (code, err) == (0, "")
    assert only_line(out).endswith(f'{phone.aor} open  "here"  (terminated, timeout)')
    assert (await running_set.get("/api/v1/subscriptions", presentity=phone.aor))["items"] == []


async def test_watch_refreshes_in_its_dialog() -> None:
    def script(request: Message) -> bytes:
        return reply(request, 200, "Expires: 1", "Contact: <sip:here@127.0.0.1>")

    server = ScriptedServer(script)
    async with server.running(), started("watch", alice(), "--as", BOB, "--server", server.address) as command:
        third = await server.request(2)
        assert [message["cseq"].split()[0] for message in server.requests[:3]] == ["1", "2", "3"]
        assert len({message["call-id"] for message in server.requests}) == 1
        assert third["to"].endswith(";tag=server")
        assert third.start == "SUBSCRIBE sip:here@127.0.0.1 SIP/2.0"
        assert command.process.returncode is None


async def test_watch_whose_reader_is_gone_unsubscribes(running_set: RunningSet, make_phone: MakePhone) -> None:
    """As in `vedette watch | head -1`."""
    phone = await make_phone(running_set, token("alice"))
    async with started("watch", phone.aor, "--as", BOB, "--server", running_set.sip_address) as command:
        await command.line()
        command.process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
        await phone.published()
        assert await asyncio.wait_for(command.process.wait(), PATIENCE) == 0
        assert command.process.stderr is not None
        assert await command.process.stderr.read() == b""
    assert (await running_set.get("/api/v1/subscriptions", presentity=phone.aor))["items"] == []


# what a user may get wrong


MISTAKES: list[tuple[tuple[str, ...], str]] = [
    (("publish", "alice@example.com"), "presentity: 'alice@example.com' is not a SIP URI"),
    (("publish", "sip:example.com"), "presentity: 'sip:example.com' names no user"),
    (("publish", "http://alice@example.com"), "presentity: 'http://alice@example.com' is not a SIP URI"),
    (("publish", "sip:alice@example.com", "--activity", "fishing"), "--activity: 'fishing' is none of appointment, "),
    (("publish", "sip:alice@example.com", "--note", "a\x07b"), "--note: 'a\\x07b' holds what XML cannot carry"),
    (("publish", "sip:alice@example.com", "--server", "here:sip"), "--server: 'here:sip' is not HOST:PORT"),
    (("publish", "sip:alice@example.com", "--server", ":5060"), "--server: ':5060' is not HOST:PORT"),
    (("publish", "sip:alice@example.com", "--server", "127.0.0.1:0"), "--server: '127.0.0.1:0' is not HOST:PORT"),
    (("publish", "sip:alice@example.com", "--server", "127.0.0.1:65536"), "is not HOST:PORT"),
    (("publish", "sip:alice@example.com", "--server", "::1:5060"), "write an IPv6 address like [::1]:5060"),
    (
        ("publish", "sip:alice@example.com", "--user", "alice", "--password", "@/no/such/file"),
        "--password: cannot read /no/such/file: No such file or directory",
    ),
    (("watch", "alice", "--as", BOB), "presentity: 'alice' is not a SIP URI"),
    (("watch", "sip:alice@example.com", "--as", "bob"), "--as: 'bob' is not a SIP URI"),
    (("watch", "sip:alice@example.com", "--as", BOB, "--server", "x:y"), "--server: 'x:y' is not HOST:PORT"),
]


@pytest.mark.parametrize(("arguments", "told"), MISTAKES, ids=lambda value: " ".join(value) if value else "")
def test_each_mistake_is_told_in_one_line_with_exit_code_2(arguments: tuple[str, ...], told: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in only_line(result.stderr)


async def test_a_mistake_is_told_by_the_process_as_well() -> None:
    assert await run("publish", "alice") == (
        2,
        "",
        "presentity: 'alice' is not a SIP URI (Malformed URI); write it like sip:alice@example.com\n",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("publish",),
        ("publish", "sip:alice@example.com", "--expires", "0"),
        ("publish", "sip:alice@example.com", "--expires", "4294967296"),
        ("publish", "sip:alice@example.com", "--status", "busy"),
        ("publish", "sip:alice@example.com", "--transport", "sctp"),
        ("watch", "sip:alice@example.com"),
    ],
    ids=" ".join,
)
def test_what_the_options_do_not_allow_is_said_with_the_usage(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage: " in result.stderr


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("publish", ("--status", "--note", "--activity", "--expires", "--keep")),
        ("watch", ("--as", "--expires", "--fetch")),
    ],
)
def test_help_names_every_option(command: str, options: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    for option in (*options, "--server", "--transport", "--user", "--password", "--json"):
        assert option in result.stdout


@pytest.fixture(scope="module")
def nobody() -> Iterator[str]:
    """An address that takes no connection and answers no datagram."""
    with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        address = ("127.0.0.1", free_port())
        stream.bind(address)
        datagrams.bind(address)
        yield f"{address[0]}:{address[1]}"


@pytest.fixture(scope="module", autouse=True)
def waiting_commands(nobody: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Commands that wait in vain for as long as commands do, beside the other tests of this file."""
    commands = [
        subprocess.Popen(
            [*VEDETTE, *arguments, "--server", nobody],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        for arguments in (("publish", "sip:alice@example.com"), ("watch", "sip:alice@example.com", "--as", BOB))
    ]
    yield commands
    for command in commands:
        command.kill()
        command.communicate()


async def test_a_server_that_cannot_be_reached_is_told_in_one_line_with_exit_code_1(nobody: str) -> None:
    cases = [
        (
            ("publish", "sip:alice@example.com", "--server", nobody, "--transport", "tcp"),
            f"cannot reach {nobody} (tcp)",
        ),
        (
            ("watch", "sip:alice@example.com", "--as", BOB, "--server", nobody, "--transport", "tcp"),
            f"cannot reach {nobody} (tcp)",
        ),
        (
            ("publish", "sip:alice@example.com", "--server", "no-such-host.invalid"),
            "cannot find no-such-host.invalid: ",
        ),
    ]
    outcomes = await asyncio.gather(*(run(*arguments) for arguments, _ in cases))
    for (_, told), (code, out, err) in zip(cases, outcomes, strict=True):
        assert (code, out) == (1, "")
        assert only_line(err).startswith(f"sip:alice@example.com: {told}")


# what servers say


def asked_for_credentials(request: Message) -> bytes | None:
    """A registrar's way: MD5 with 401 for PUBLISH, SHA-256 with 407 for SUBSCRIBE, the password is secret."""
    kind, asked, status, algorithm = (
        ("WWW-Authenticate", "authorization", 401, "MD5")
        if request.method == "PUBLISH"
        else ("Proxy-Authenticate", "proxy-authorization", 407, "SHA-256")
    )
    if asked in request and credentials(request[asked])["username"] == "ali" and is_right(request, asked, "secret"):
        return reply(request, 200, f"Expires: {request['expires']}", "SIP-ETag: e", "Contact: <sip:127.0.0.1>")
    return reply(
        request,
        status,
        f'{kind}: Digest realm="example.com", nonce="{token()}", algorithm={algorithm}, qop="auth"',
        reason="Show me",
    )


async def test_user_and_password_answer_a_challenge(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("secret\n")
    async with ScriptedServer(asked_for_credentials).running() as server:
        uri = alice()
        publish = ("publish", uri, "--server", server.address)
        watch = ("watch", uri, "--as", BOB, "--server", server.address, "--transport", "tcp", "--json")
        (code, out, err), (told_code, told_out, told_err), (wrong_code, wrong_out, wrong_err) = await asyncio.gather(
            run(*publish, "--user", "ali", "--password", f"@{secret}"),
            run(*publish),
            run(*publish, "--user", "ali", extra={"VEDETTE_PASSWORD": "wrong"}),
        )
        assert (code, err) == (0, "")
        assert only_line(out) == f"published {uri} for 3600 seconds (entity tag e)"
        for refused_code, refused_out, refused_err in (
            (told_code, told_out, told_err),
            (wrong_code, wrong_out, wrong_err),
        ):
            assert (refused_code, refused_out) == (1, "")
            assert only_line(refused_err) == f"{uri}: the server answered 401 Show me (see --user and --password)"
        count = len(server.requests)
        async with started(*watch, "--user", "ali", extra={"VEDETTE_PASSWORD": "secret"}) as command:
            subscribe = await server.request(count + 1)
            assert subscribe["cseq"] == "2 SUBSCRIBE"
            server.notify(subscribe, 1, "active;expires=600", pidf(note="told"))
            assert (await command.json())["notes"] == ["told"]
            command.process.send_signal(signal.SIGINT)
            end = await server.request(count + 3)
            assert (end["expires"], end["cseq"]) == ("0", "4 SUBSCRIBE")
            server.notify(end, 2, "terminated;reason=timeout")
            assert (await command.end())[0] == 0


async def test_what_is_refused_is_told_in_one_line_with_exit_code_1() -> None:
    uri = alice()
    async with ScriptedServer(lambda request: reply(request, 403, reason="Not yours")).running() as server:
        outcomes = await asyncio.gather(
            run("publish", uri, "--server", server.address),
            run("watch", uri, "--as", BOB, "--server", server.address, "--transport", "tcp"),
        )
    for code, out, err in outcomes:
        assert (code, out) == (1, "")
        assert only_line(err) == f"{uri}: the server answered 403 Not yours"


async def test_an_interval_that_is_too_brief_is_replaced_and_a_forgotten_publication_made_anew() -> None:
    left = iter([(423, ["Min-Expires: 1"]), (200, ["Expires: 1", "SIP-ETag: a"]), (412, [])])

    def script(request: Message) -> bytes:
        status, headers = next(left, (200, ["Expires: 1", "SIP-ETag: b"]))
        return reply(request, status, *headers)

    async with ScriptedServer(script).running() as server:
        arguments = ("publish", alice(), "--keep", "--json", "--expires", "1", "--server", server.address)
        async with started(*arguments) as command:
            assert (await command.json())["etag"] == "a"
            assert await command.json() | {"presentity": ""} == {
                "event": "refreshed", "presentity": "", "etag": "b", "expires": 1,
            }  # fmt: skip
            code, _, err = await command.end(signal.SIGINT)
            assert (code, err) == (0, "")
    tags = [message.get("sip-if-match") for message in server.requests]
    assert tags[:4] == [None, None, "a", None]
    assert set(tags[4:]) == {"b"}
    assert server.requests[3].body == server.requests[0].body != b""
    assert server.requests[-1]["expires"] == "0"


async def test_watch_subscribes_anew_when_the_server_allows_and_ends_when_not() -> None:
    def script(request: Message) -> bytes:
        return reply(request, 200, f"Expires: {request['expires']}", "Contact: <sip:127.0.0.1>")

    async with ScriptedServer(script).running() as server:
        uri = alice()
        async with started("watch", uri, "--as", BOB, "--json", "--server", server.address) as command:
            first = await server.request(0)
            server.notify(first, 1, "terminated;reason=probation;retry-after=1")
            said = await command.json()
            assert (said["subscription"], said["reason"], said["status"]) == ("terminated", "probation", None)
            second = await server.request(1)
            assert second["call-id"] != first["call-id"]
            assert second["cseq"] == "1 SUBSCRIBE"
            server.notify(second, 1, "active;expires=600", pidf(note="again"))
            assert (await command.json())["notes"] == ["again"]
            server.notify(second, 2, "terminated;reason=rejected")
            code, lines, err = await command.end()
    assert code == 1
    assert [json.loads(line)["reason"] for line in lines] == ["rejected"]
    assert only_line(err) == f"{uri}: the server has ended the subscription (rejected)"
    assert len(server.requests) == 2


async def test_watch_subscribes_anew_where_the_server_has_forgotten_the_dialog() -> None:
    def script(request: Message) -> bytes:
        if ";tag=" in request["to"] and request["expires"] != "0":
            return reply(request, 481)
        return reply(request, 200, "Expires: 1", "Contact: <sip:127.0.0.1>")

    async with ScriptedServer(script).running() as server:
        arguments = ("watch", alice(), "--as", BOB, "--server", server.address)
        async with started(*arguments) as command:
            third = await server.request(2)
            assert [message["cseq"].split()[0] for message in server.requests[:3]] == ["1", "2", "1"]
            assert third["call-id"] != server.requests[0]["call-id"]
            server.notify(third, 1, "active;expires=600", b"no XML at all")
            assert (await command.line()).endswith(" no state")


async def test_a_fetch_that_waits_for_its_notify_can_be_stopped() -> None:
    def script(request: Message) -> bytes:
        return reply(request, 200, "Expires: 0", "Contact: <sip:127.0.0.1>")

    uri = alice()
    server = ScriptedServer(script)
    async with server.running(), started("watch", uri, "--as", BOB, "--fetch", "--server", server.address) as command:
        await server.request(0)
        assert await command.end(signal.SIGINT) == (0, [], "")


async def test_a_second_ctrl_c_ends_a_command_whose_server_is_silent() -> None:
    def script(request: Message) -> bytes | None:
        return None if request["expires"] == "0" else reply(request, 200, "Expires: 600", "SIP-ETag: a")

    server = ScriptedServer(script)
    async with server.running(), started("publish", alice(), "--keep", "--server", server.address) as command:
        await command.line()
        command.process.send_signal(signal.SIGINT)
        await server.request(1)
        code, lines, err = await command.end(signal.SIGINT)
    assert code != 0
    assert lines == []
    assert "Traceback" not in err


async def test_a_server_that_does_not_answer_is_told_in_one_line_with_exit_code_1(
    nobody: str, waiting_commands: list[subprocess.Popen[str]]
) -> None:
    for command in waiting_commands:
        out, err = await asyncio.to_thread(command.communicate, timeout=60)
        assert (command.returncode, out) == (1, "")
        assert only_line(err) == f"sip:alice@example.com: no answer from {nobody} (udp) within 10 seconds"
