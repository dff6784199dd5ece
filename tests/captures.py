"""Write docs/captures.md: what SIPp, baresip and a browser exchange with Vedette, as tshark sees it on loopback.

`python -m tests.captures`, as somebody who may listen on loopback; it takes a minute. Of each message it keeps what
tells it from others. The tests of these clients are in tests/conformance.
"""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

from tests.conformance.secured import Secured, secured
from tests.conformance.sipp_calls import PRESENCE, run_sipp
from tests.conformance.test_baresip import baresip
from tests.conformance.test_browser import HERE, browsing, site
from tests.folders import open_folder
from tests.phone import opened, pidf
from tests.programs import required
from tests.wait import until_true

PAGE = Path(__file__).resolve().parent.parent / "docs" / "captures.md"
SHOWN = (
    "CSeq",
    "Event",
    "Expires",
    "SIP-If-Match",
    "SIP-ETag",
    "Subscription-State",
    "Content-Type",
    "Content-Length",
)
EMPTY = ("Content-Length", "0")
LATE = 1.0
"""Seconds until tshark has what was sent."""
HEAD = """# Captures

What three clients that nobody here has written exchange with a set on loopback, over every transport: `>` is from the
client, `<` from Vedette; seconds since the first message. `python -m tests.captures` (tshark, as root) writes this
page anew. The clients' tests are `test_sipp.py`, `test_baresip.py`, `test_browser.py` and `test_transports.py` in
`tests/conformance`.

- SIPp subscribes, publishes in the same call, sees the change, and unsubscribes. Debian's has no TLS.
- baresip watches a contact that comes online, publishes its own state, and takes both back when it ends. tshark
  cannot read its TLS: that is baresip's own log (`-s`), without times.
- Chromium with SIP.js subscribes and publishes over WebSocket. Its TLS is read with the keys that it writes down
  (`SSLKEYLOGFILE`).
"""


@dataclass(frozen=True)
class Seen:
    """One SIP message."""

    at: str
    is_ours: bool
    start: str
    rows: tuple[tuple[str, str], ...]

    def line(self) -> str:
        """As the page has it."""
        shown = ", ".join(
            f"{name}: {value}"
            for wanted in SHOWN
            for name, value in self.rows
            if name == wanted and (name, value) != EMPTY
        )
        start = self.start.removesuffix(" SIP/2.0").removeprefix("SIP/2.0 ")
        return f"{self.at:>7} {'<' if self.is_ours else '>'} {start} | {shown}"


@dataclass
class Tap:
    """tshark at work on some ports of the server."""

    ports: tuple[int, ...]
    file: Path
    keys: Path

    async def read(self, without: Iterable[int]) -> list[Seen]:
        """The messages so far, but those of clients with these ports."""
        decode = [f"-d{kind}.port=={port},sip" for port in self.ports[:1] for kind in ("udp", "tcp")]
        process = await asyncio.create_subprocess_exec(
            required("tshark"), "-r", str(self.file), "-n", "-T", "pdml", "-Y", "sip", *decode,
            "-o", f"tls.keylog_file:{self.keys}",
            *(f"-dtcp.port=={port},{kind}" for port, kind in zip(self.ports[1:], ("http", "tls"), strict=False)),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        out, _ = await process.communicate()
        excluded = set(without)
        found = []
        for packet in ET.fromstring(out).iter("packet"):
            ports = [int(port) for name in ("udp.port", "tcp.port") for port in _shown(packet, name)]
            if excluded.isdisjoint(ports):
                (at,) = _shown(packet, "frame.time_relative")
                found += [_seen(at, ports[0] in self.ports, sip) for sip in packet.iter("proto") if _is_sip(sip)]
        return found


def _shown(element: ET.Element, name: str) -> list[str]:
    return [field.get("show", "") for field in element.iter("field") if field.get("name") == name]


def _is_sip(proto: ET.Element) -> bool:
    return proto.get("name") == "sip"


def _seen(at: str, is_ours: bool, proto: ET.Element) -> Seen:  # noqa: FBT001
    start, *_ = [*_shown(proto, "sip.Request-Line"), *_shown(proto, "sip.Status-Line")]
    rows = []
    for head in proto.iter("field"):
        if head.get("name") == "sip.msg_hdr":
            rows += [field.get("showname", "").replace("\\r\\n", "").partition(": ") for field in head]
    return Seen(at, is_ours, start, tuple((name, value) for name, _, value in rows))


@contextlib.asynccontextmanager
async def listening(folder: Path, *ports: int) -> AsyncIterator[Tap]:
    """tshark writes down what goes through the ports: SIP itself, then WebSocket, then WebSocket over TLS."""
    tap = Tap(ports, folder / "capture.pcapng", folder / "keys")
    process = await asyncio.create_subprocess_exec(
        required("tshark"), "-i", "lo", "-f", " or ".join(f"port {port}" for port in ports), "-w", str(tap.file),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        while b"Capturing on" not in await process.stderr.readline():
            assert process.returncode is None, "tshark cannot listen on loopback"
        # It says so before it does; the file is begun after.
        await until_true(lambda: tap.file.exists() and tap.file.stat().st_size, "tshark writes")
        yield tap
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            await process.wait()


def relative(seen: list[Seen]) -> list[Seen]:
    """With seconds since the first one."""
    return [Seen(f"{float(one.at) - float(seen[0].at):.3f}", one.is_ours, one.start, one.rows) for one in seen]


async def of_sipp(one: Secured, folder: Path, transport: str, host: str) -> list[Seen]:
    """One call of SIPp."""
    address = one.running.address(transport, host)
    async with listening(folder, address[1]) as tap:
        name = f"{transport}{6 if ':' in host else 4}"
        await run_sipp(address, folder, "watch", PRESENCE, transport=transport, run=name, calls=1)
        await asyncio.sleep(LATE)
        return relative(await tap.read(()))


async def of_baresip(one: Secured, folder: Path, transport: str) -> list[Seen]:
    """baresip watches somebody who comes and publishes itself."""
    running = one.running
    async with (
        listening(folder, running.address(transport)[1]) as tap,
        opened(running, f"alice-{transport}") as alice,
        opened(running) as bob,
    ):
        async with baresip(running, folder, contacts=(alice.aor,), publish=600, transport=transport) as phone:
            await phone.says("SIP-ETag: ")
            await phone.lists("Offline", alice.aor)
            await alice.published(body=pidf(alice.aor))
            await phone.says(f"<{alice.aor}> changed status from Offline to Online")
            await bob.subscribed(phone.aor)
            said = phone.said
        await asyncio.sleep(LATE)
        if transport == "tls":
            return logged(said())
        return relative(await tap.read((alice.local[1], bob.local[1])))


def logged(text: str) -> list[Seen]:
    """The messages in the log of baresip."""
    found = []
    for part in re.split(r"(?m)^#\s*$", text)[1:]:
        lines = part.strip().splitlines()
        start = next((n for n, line in enumerate(lines) if " SIP/2.0" in line or line.startswith("SIP/2.0 ")), None)
        if start is None:
            continue
        rows = []
        for line in lines[start + 1 :]:
            name, colon, value = line.partition(":")
            if not colon or " " in name:
                break
            rows.append((name, value.strip()))
        is_ours = lines[start].startswith("SIP/2.0") != ("NOTIFY" in dict(rows).get("CSeq", ""))
        found.append(Seen("", is_ours, lines[start], tuple(rows)))
    return found


async def of_browser(one: Secured, folder: Path, transport: str) -> list[Seen]:
    """Chromium watches somebody and publishes its own state."""
    running = one.running
    ports = [running.address(kind)[1] for kind in ("ws", "wss")]
    os.environ["SSLKEYLOGFILE"] = str(folder / "keys")
    async with (
        listening(folder, running.sip[1], *ports) as tap,
        opened(running, f"alice-{transport}") as alice,
        site(HERE / "node_modules") as page,
    ):
        await alice.published(body=pidf(alice.aor))
        host, port = running.address(transport)
        asked = {"server": f"{transport}://{host}:{port}", "me": "sip:browser@example.com", "presentity": alice.aor}
        asked["publish"] = pidf("sip:browser@example.com").decode()
        url = f"{page.origin}/?{urlencode(asked)}"
        async with browsing(required("chromium-headless-shell"), url, one.files.certificate):
            await page.tells("state", "open")
            await page.tells("publication", "Published")
            await asyncio.sleep(LATE)
        return relative(await tap.read((alice.local[1],)))


Exchange = Callable[[Secured, Path], Awaitable[list[Seen]]]
EXCHANGES: dict[str, Exchange] = {
    **{
        f"SIPp over {transport.upper()}, {family}": partial(of_sipp, transport=transport, host=host)
        for family, host in (("IPv4", "127.0.0.1"), ("IPv6", "::1"))
        for transport in ("udp", "tcp")
    },
    **{f"baresip over {kind.upper()}": partial(of_baresip, transport=kind) for kind in ("udp", "tcp", "tls")},
    **{f"Chromium with SIP.js over {kind.upper()}": partial(of_browser, transport=kind) for kind in ("ws", "wss")},
}


async def write() -> None:
    """Make every exchange and write the page."""
    parts = [HEAD]
    async with secured() as one:
        for name, exchange in EXCHANGES.items():
            with open_folder("capture") as folder:
                seen = await exchange(one, folder)
            sys.stderr.write(f"{name}: {len(seen)} messages\n")
            lines = "\n".join(re.sub(r"(?<=[a-z])[0-9a-f]{16}(?=[@-])", "", message.line()) for message in seen)
            parts.append(f"## {name}\n\n```text\n{lines}\n```\n")
    PAGE.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(write())
