"""baresip, a real phone without its audio: what it sees as a watcher, and what others see of it as a publisher."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.conformance.digest_client import add_user
from tests.conformance.observed import bindings, publications, subscriptions, tuples
from tests.conformance.secured import secured
from tests.phone import MakePhone, Message, host_port, pidf, token
from tests.ports import free_port
from tests.programs import required
from tests.running_set import RunningSet, started
from tests.wait import until, until_true

MODULES = (
    Path("/usr/lib/baresip/modules"),
    Path("/usr/lib/x86_64-linux-gnu/baresip/modules"),
    Path("/usr/local/lib/baresip/modules"),
)
NEEDED = ("account.so", "contact.so", "presence.so", "menu.so", "ctrl_tcp.so")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
END_PATIENCE = 10.0


@dataclass
class Baresip:
    """One baresip at work: what it says, and a way to type commands into it."""

    aor: str
    log: Path
    port: int

    def said(self) -> str:
        """Everything it has printed, without colours."""
        return COLOUR.sub("", self.log.read_text(encoding="utf-8", errors="replace"))

    async def says(self, text: str, times: int = 1) -> None:
        """Return when it has printed the text so many times; what it sends and receives is printed too."""
        try:
            await until_true(lambda: self.said().count(text) >= times, f"baresip says {text!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said()[-3000:]}") from None

    async def lists(self, status: str, contact: str) -> None:
        """Return when its list of contacts shows one with that status."""

        async def shown() -> bool:
            return re.search(rf"\b{status} .*<{contact}>", await self.command("contacts")) is not None

        await until(shown, f"baresip shows {contact} as {status}")

    async def command(self, name: str) -> str:
        """What a command answers."""
        request = json.dumps({"command": name}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"{len(request)}:".encode() + request + b",")
        async with asyncio.timeout(10):
            length = int((await reader.readuntil(b":"))[:-1])
            answer = json.loads(await reader.readexactly(length))
        writer.close()
        await writer.wait_closed()
        assert answer["ok"], answer
        return COLOUR.sub("", answer["data"])


def module_folder() -> Path:
    """Where the modules are that it needs here."""
    found = next((path for path in MODULES if path.is_dir()), None)
    assert found is not None, f"baresip has no modules in {', '.join(map(str, MODULES))}"
    for name in NEEDED:
        assert (found / name).exists(), f"baresip lacks its module {name}"
    return found


@contextlib.asynccontextmanager
async def baresip(
    running: RunningSet,
    folder: Path,
    *,
    contacts: tuple[str, ...] = (),
    publish: int = 0,
    transport: str = "udp",
    password: str = "",
    register: int = 0,
) -> AsyncIterator[Baresip]:
    """baresip as a user of its own, with these contacts; it leaves as it does when its user ends it.

    `register`: seconds that it registers for; 0: it does not. `password` makes it a user whom the server knows.
    """
    program = required("baresip")
    aor = f"sip:{token('baresip')}@example.com"
    if password:
        await add_user(running, aor.removeprefix("sip:"), password)
    phone = Baresip(aor, folder / "log", free_port())
    lines = [
        "poll_method epoll",
        "sip_listen 127.0.0.1:0",
        "net_interface 127.0.0.1",
        f"module_path {module_folder()}",
        "module_tmp account.so",
        *(f"module_app {name}" for name in NEEDED if name != "account.so"),
        f"ctrl_tcp_listen 127.0.0.1:{phone.port}",
        *([f"sip_cafile {running.ca}"] if running.ca is not None else []),
    ]
    (folder / "config").write_text("\n".join([*lines, ""]), encoding="ascii")
    through = f'outbound="sip:{host_port(*running.address(transport))};transport={transport}"'
    (folder / "accounts").write_text(
        f"<{aor};transport={transport}>;{through};regint={register};pubint={publish}"
        + (f";auth_pass={password}\n" if password else "\n"),
        encoding="ascii",
    )
    rows = [f'"{number}" <{uri}>;presence=p2p\n' for number, uri in enumerate(contacts)]
    (folder / "contacts").write_text("".join(rows), encoding="ascii")
    with phone.log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            program, "-f", str(folder), "-v", "-s", stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        await phone.says("baresip is ready")
        yield phone
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), END_PATIENCE)
            except TimeoutError:
                process.kill()
                await process.wait()


def busy(entity: str) -> bytes:
    """What a phone publishes whose user talks."""
    return (
        f'<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:d="urn:ietf:params:xml:ns:pidf:data-model" '
        f'xmlns:r="urn:ietf:params:xml:ns:pidf:rpid" entity="{entity}"><tuple id="t"><status><basic>open</basic>'
        f'</status></tuple><d:person id="p"><r:activities><r:busy/></r:activities></d:person></presence>'
    ).encode()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_baresip_sees_its_contacts_come_change_and_go(
    running_set: RunningSet, make_phone: MakePhone, tmp_path: Path, transport: str
) -> None:
    alice, carol, reader = [await make_phone(running_set) for _ in range(3)]
    await carol.published(body=pidf(carol.aor))
    request = reader.subscribe(reader.dialog(alice.aor), event="presence.winfo", accept="application/watcherinfo+xml")
    assert (await reader.request(request)).status == 202
    async with baresip(running_set, tmp_path, contacts=(alice.aor, carol.aor), transport=transport) as phone:
        await phone.lists("Online", carol.aor)
        await phone.lists("Offline", alice.aor)
        tag = await alice.published(body=pidf(alice.aor))
        await phone.says(f"<{alice.aor}> changed status from Offline to Online")
        response = await alice.request(alice.publish(if_match=tag, body=busy(alice.aor)))
        await phone.says(f"<{alice.aor}> changed status from Online to Busy")
        await phone.lists("Busy", alice.aor)
        await phone.lists("Online", carol.aor)
        await alice.request(alice.publish(if_match=response["sip-etag"], expires=0))
        await phone.says(f"<{alice.aor}> changed status from Busy to Offline")
        watching = [item for item in await subscriptions(running_set, alice.aor) if item["event"] == "presence"]
        assert [item["watcher"] for item in watching] == [phone.aor]
        assert watching[0]["user_agent"].startswith("baresip")
        assert watching[0]["transport"] == transport
        await reader.notify_where(partial(tells_of, phone.aor, "active"))
    await reader.notify_where(partial(tells_of, phone.aor, "terminated"))

    async def gone() -> bool:
        left = [*await subscriptions(running_set, alice.aor), *await subscriptions(running_set, carol.aor)]
        return phone.aor not in [item["watcher"] for item in left]

    await until(gone, "baresip has unsubscribed")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_what_baresip_publishes_is_seen_until_it_leaves(
    running_set: RunningSet, make_phone: MakePhone, tmp_path: Path, transport: str
) -> None:
    bob = await make_phone(running_set)
    async with baresip(running_set, tmp_path, publish=600, transport=transport) as phone:
        _, first = await bob.subscribed(phone.aor)
        assert len(tuples(first.body)) == 1
        # It publishes at its start, and without knowing the tag of that it would publish a second time.
        await phone.says("SIP-ETag: ")
        for number, (command, basic) in enumerate((("online", "open"), ("offline", "closed"), ("online", "open"))):
            await phone.command(f"presence_{command}")
            await bob.notify_where(partial(shows, basic))
            await phone.says("SIP-ETag: ", number + 2)
        assert len(await publications(running_set, phone.aor)) == 1
        assert "publisher got error" not in phone.said()
    gone = await bob.notify_where(lambda notify: "offline" in tuples(notify.body))
    assert [*tuples(gone.body).values()] == ["closed"]
    assert await publications(running_set, phone.aor) == []


def tells_of(watcher: str, status: str, notify: Message) -> bool:
    """Whether watcher information has that watcher in that status."""
    return re.search(rf'<watcher [^>]*status="{status}"[^>]*>{re.escape(watcher)}<'.encode(), notify.body) is not None


def shows(basic: str, notify: Message) -> bool:
    return list(tuples(notify.body).values()) == [basic]


async def test_out_16_baresip_watches_and_publishes_over_tls(make_phone: MakePhone, tmp_path: Path) -> None:
    async with secured() as one:
        alice, bob = await make_phone(one.running), await make_phone(one.running)
        folder = tmp_path / "phone"
        folder.mkdir()
        async with baresip(one.running, folder, contacts=(alice.aor,), publish=600, transport="tls") as phone:
            await phone.lists("Offline", alice.aor)
            await alice.published(body=pidf(alice.aor))
            await phone.says(f"<{alice.aor}> changed status from Offline to Online")
            [watching] = await subscriptions(one.running, alice.aor)
            assert (watching["watcher"], watching["transport"]) == (phone.aor, "tls")
            _, first = await bob.subscribed(phone.aor)
            assert len(tuples(first.body)) == 1


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_parameter_registrar_baresip_needs_the_edge_alone(
    running_set: RunningSet, make_phone: MakePhone, tmp_path: Path, transport: str
) -> None:
    """It registers, keeps that up, publishes and watches, and takes its registration back when it leaves."""
    alice, bob = await make_phone(running_set), await make_phone(running_set)
    async with baresip(
        running_set, tmp_path, contacts=(alice.aor,), publish=600, transport=transport, register=60
    ) as phone:
        await phone.says("200 OK () [1 binding]")
        [binding] = await bindings(running_set, phone.aor)
        assert binding["received"].endswith(f";transport={transport}")
        assert 50 < binding["seconds"] <= 60
        await alice.published(body=pidf(alice.aor))
        await phone.lists("Online", alice.aor)
        _, first = await bob.subscribed(phone.aor)
        assert tuples(first.body)
        # Its dialog and its binding have the same Contact, and nothing moves.
        [watching] = await subscriptions(running_set, alice.aor)
        assert watching["contact"].partition(";")[0] == binding["contact"].partition(";")[0]

    async def gone() -> bool:
        return await bindings(running_set, phone.aor) == []

    await until(gone, "baresip has taken its registration back")


async def test_parameter_digest_algorithms_pub_24_aut_05_baresip_proves_who_it_is(tmp_path: Path) -> None:
    """This one knows MD5 only, and gives up where it is asked for something else first."""
    folders = [tmp_path / name for name in ("alice", "bob", "stranger")]
    for folder in folders:
        folder.mkdir()
    async with (
        started("--cores", "1", "--auth", "digest", extra={"VEDETTE_DIGEST_ALGORITHMS": "MD5"}) as running,
        baresip(running, folders[0], publish=600, password="hunter2") as alice,
    ):
        await alice.says("SIP-ETag: ")
        assert len(await publications(running, alice.aor)) == 1
        async with baresip(running, folders[1], contacts=(alice.aor,), password="hunter2") as bob:
            await bob.says("NOTIFY sip:")
            assert [item["watcher"] for item in await subscriptions(running, alice.aor)] == [bob.aor]
            await alice.command("presence_online")
            await bob.lists("Online", alice.aor)
            await alice.command("presence_offline")
            await bob.lists("Offline", alice.aor)
        async with baresip(running, folders[2], contacts=(alice.aor,)) as stranger:
            await stranger.says("SIP/2.0 401 Unauthorized")
            assert stranger.aor not in [item["watcher"] for item in await subscriptions(running, alice.aor)]
