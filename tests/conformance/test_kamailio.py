"""Kamailio as the publisher of calls (pua_dialoginfo): SIPp calls SIPp through it, and lamps follow both ends.

It publishes `early`, `confirmed` and `terminated` as they come and does not wait for the entity tag of one before it
sends the next, so that a call has three publications, of which the end is published for 11 seconds and the others for
up to an hour (rows DLI-15, CMP-14; peers.md, section 7, row 1).
"""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.conformance.observed import publications
from tests.conformance.test_dialog import Lamp, watching
from tests.dialog_info import TYPE, call, dialogs, read
from tests.phone import MakePhone, pidf, token
from tests.ports import free_port
from tests.programs import required, required_folder
from tests.running_set import RunningSet
from tests.wait import until

CONFIGURATION = Path(__file__).with_name("kamailio_calls.cfg")
MODULES = Path("/usr/lib/x86_64-linux-gnu/kamailio/modules")
TABLES = Path("/usr/share/kamailio/dbtext/kamailio")
"""It asks for a database, and then keeps nothing there (db_mode 0)."""
CALLS = 20
PATIENCE = 60.0


@dataclass(frozen=True)
class Calls:
    """Kamailio with a phone behind it that answers."""

    proxy: int
    caller: int
    folder: Path
    rpc: int
    """Its port for commands."""

    async def publish(self, uri: str, event: str, media_type: str, body: bytes, *, expires: int) -> str:
        """Have it publish with `pua.publish`, which waits for the answer; the entity tag."""
        parameters = [uri, str(expires), event, media_type, uri, ".", ".", ".", *([body.decode()] if body else [])]
        call = {"jsonrpc": "2.0", "method": "pua.publish", "params": parameters, "id": 1}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://127.0.0.1:{self.rpc}/", json=call) as answer,
        ):
            text = await answer.text()
        assert answer.status == 200, text
        return str(json.loads(text)["result"]["SIP-ETag"])

    async def make(self, callee: str, count: int, *, talk: int) -> None:
        """So many calls, one after the other, of `talk` milliseconds each."""
        process = await asyncio.create_subprocess_exec(
            required("sipp"), f"127.0.0.1:{self.proxy}", "-sn", "uac", "-s", callee, "-i", "127.0.0.1",
            "-p", str(self.caller), "-m", str(count), "-l", "1", "-d", str(talk), "-nd", "-nostdin",
            "-trace_err", "-error_file", str(self.folder / "errors"),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=self.folder,
        )  # fmt: skip
        async with ended_at_last(process):
            out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
        assert process.returncode == 0, out.decode(errors="replace")[-3000:] + said(self.folder)


@contextlib.asynccontextmanager
async def ended_at_last(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()


def said(folder: Path) -> str:
    """What the programs have complained of."""
    return "".join(path.read_text(encoding="utf-8", errors="replace")[-3000:] for path in folder.glob("*errors*"))


@contextlib.asynccontextmanager
async def calls_through_kamailio(running: RunningSet, folder: Path) -> AsyncIterator[Calls]:
    """Kamailio that publishes to the set, and SIPp that answers behind it."""
    proxy, phone, caller, rpc = [free_port() for _ in range(4)]
    tables = shutil.copytree(required_folder(TABLES), folder / "tables")
    text = CONFIGURATION.read_text(encoding="utf-8")
    for name, value in {
        "PROXY": str(proxy),
        "PHONE": str(phone),
        "RPC": str(rpc),
        "SERVER": running.sip_address,
        "MODULES": f"{required_folder(MODULES)}/",
        "TABLES": str(tables),
    }.items():
        text = text.replace(f"@{name}@", value)
    configuration = folder / "kamailio.cfg"
    configuration.write_text(text, encoding="utf-8")
    answering = await asyncio.create_subprocess_exec(
        required("sipp"), "-sn", "uas", "-i", "127.0.0.1", "-p", str(phone), "-nd", "-nostdin",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, cwd=folder,
    )  # fmt: skip
    async with ended_at_last(answering):
        with (folder / "kamailio-errors").open("wb") as log:
            kamailio = await asyncio.create_subprocess_exec(
                required("kamailio"), "-DD", "-E", "-f", str(configuration), "-Y", str(folder),
                stdout=log, stderr=log, cwd=folder,
            )  # fmt: skip
        async with ended_at_last(kamailio):

            async def answers() -> bool:
                assert kamailio.returncode is None, said(folder)
                return is_bound("udp", proxy) and is_bound("udp", phone) and is_bound("tcp", rpc)

            await until(answers, "Kamailio and SIPp listen")
            yield Calls(proxy, caller, folder, rpc)


def is_bound(transport: str, port: int) -> bool:
    """Whether somebody has the port of loopback: as the kernel tells, since whoever tries it has it for a moment."""
    _, *rows = Path(f"/proc/net/{transport}").read_text(encoding="ascii").splitlines()
    return any(row.split()[1] == f"0100007F:{port:04X}" for row in rows)


async def seen_until_idle(lamp: Lamp) -> set[str]:
    """The states that a lamp showed, until nothing is left of its calls but that they are over."""
    seen: set[str] = set()
    while True:
        document = await lamp.next()
        seen |= set(document.states)
        if "confirmed" in seen and set(document.states) <= {"terminated"}:
            return seen


async def test_dli_15_cmp_14_a_call_that_kamailio_publishes_lights_two_lamps_and_leaves_none_lit(
    running_set: RunningSet, make_phone: MakePhone, tmp_path: Path
) -> None:
    callee = token("callee")
    caller_line, callee_line = "sip:sipp@127.0.0.1", f"sip:{callee}@127.0.0.1"
    lamps = [await watching(running_set, make_phone, uri) for uri in (caller_line, callee_line)]
    async with calls_through_kamailio(running_set, tmp_path) as calls:
        await calls.make(callee, 1, talk=3000)
        for lamp in lamps:
            # The phone answers at once: that it rings may be merged into what comes after (NOT-13).
            assert {"confirmed", "terminated"} <= await seen_until_idle(lamp)


async def test_dli_15_after_many_calls_that_kamailio_publishes_no_lamp_is_lit(
    running_set: RunningSet, make_phone: MakePhone, tmp_path: Path
) -> None:
    callee = token("callee")
    uri = f"sip:{callee}@127.0.0.1"
    lamp = await watching(running_set, make_phone, uri)
    async with calls_through_kamailio(running_set, tmp_path) as calls:
        await calls.make(callee, CALLS, talk=0)

        async def over() -> bool:
            left = await publications(running_set, uri, "dialog")
            return {state for item in left for state in read(item["body"].encode()).states} <= {"terminated"}

        await until(over, "what Kamailio has published before the ends is gone")

        async def dark() -> bool:
            fetch = Lamp(await make_phone(running_set), uri)
            await fetch.subscribe(expires=0)
            return (await fetch.next()).dialogs == []

        await until(dark, "the ends, which Kamailio publishes for 11 seconds, are over", deadline=PATIENCE)
    shown = [read(message.body).states for message in lamp.phone.received if not message.is_response]
    last = max(number for number, states in enumerate(shown) if set(states) - {"terminated"})
    assert "terminated" in [state for states in shown[last + 1 :] for state in states]


SUMMARY = "application/simple-message-summary"


async def test_what_kamailio_publishes_of_each_package_is_seen_changes_and_goes(
    running_set: RunningSet, make_phone: MakePhone, tmp_path: Path
) -> None:
    """pua_rpc: the publisher of operators' scripts, which keeps its entity tags itself."""
    name = token("alice")
    uri = f"sip:{name}@example.com"
    packages = {
        "presence": ("application/pidf+xml", pidf(uri, note="first"), b"first", pidf(uri, note="second"), b"second"),
        "message-summary": (
            SUMMARY, b"Messages-Waiting: yes\r\nVoice-Message: 1/0\r\n", b": 1/0",
            b"Messages-Waiting: yes\r\nVoice-Message: 2/0\r\n", b": 2/0",
        ),
        "dialog": (TYPE, dialogs(call("early", "a")), b">early<", dialogs(call("confirmed", "a")), b">confirmed<"),
    }  # fmt: skip
    async with calls_through_kamailio(running_set, tmp_path) as kamailio:
        for event, (media_type, body, shows, changed, shows_then) in packages.items():
            watcher = await make_phone(running_set)
            request = watcher.subscribe(watcher.dialog(uri), event=event, accept=media_type)
            assert (await watcher.request(request)).status == 200
            neutral = await watcher.next_notify()
            tags = [await kamailio.publish(uri, event, media_type, body, expires=600)]
            assert shows in (await watcher.next_notify()).body
            tags.append(await kamailio.publish(uri, event, media_type, changed, expires=600))
            assert shows_then in (await watcher.next_notify()).body
            assert [item["etag"] for item in await publications(running_set, uri, event)] == tags[1:]
            await kamailio.publish(uri, event, ".", b"", expires=0)
            gone = await watcher.next_notify()
            assert shows_then not in gone.body
            assert len(gone.body) == len(neutral.body)
