"""Mutated datagrams, streams and responses against a running set, and whether it serves as before.

A burst of datagrams is followed by an OPTIONS that has to be answered: so no more is sent than the edge reads, and it
is known at each moment that it lives. All that a mutated SUBSCRIBE may lead to is on loopback.
"""

import asyncio
import contextlib
import ipaddress
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import cast

from tests.fuzz import seeds
from tests.fuzz.mutations import mutate
from tests.phone import opened, pidf, token
from tests.running_set import RunningSet
from tests.wait import until
from tests.websocket import TEXT, frame, opening
from vedette.sip.address import parse_address
from vedette.sip.errors import SipError
from vedette.sip.grammar import split_list
from vedette.sip.message import Request
from vedette.sip.reader import read_message
from vedette.sip.route import route_in_dialog

BURST = 100
STREAMS = 4
"""Connections at once."""
PATIENCE = 30.0
"""Seconds that an answer to OPTIONS may take, repeated each half second."""
ROUNDS = 40
PAGE = 4096

Say = Callable[[str], None]

_BRANCH = re.compile(rb"branch=z9hG4bK[^;,\s]*")
_COMPLAINTS = re.compile(r'Traceback|"level": "(?:error|critical)"|exception was never retrieved|Fatal Python error')


@dataclass
class Report:
    """What was done and what came of it."""

    seed: int
    datagrams: int = 0
    connections: Counter[str] = field(default_factory=Counter)
    """By transport."""
    answers: Counter[str] = field(default_factory=Counter)
    """Responses by status, and the NOTIFYs that came."""
    seconds: float = 0.0
    memory: dict[str, list[int]] = field(default_factory=dict)
    """Resident MiB of each process at even distances."""
    latency: dict[str, dict[str, float]] = field(default_factory=dict)
    """Milliseconds from PUBLISH to NOTIFY before and after: median and worst."""
    settled: float = 0.0
    """Seconds until requests were no longer refused because of those before (503)."""
    failures: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        figures = asdict(replace(self, connections=Counter(), answers=Counter()))
        return figures | {"connections": dict(self.connections), "answers": dict(self.answers)}

    def as_text(self) -> str:
        """For a person."""
        connections = ", ".join(f"{count:,} of {kind}" for kind, count in sorted(self.connections.items()))
        answers = ", ".join(f"{kind}: {count:,}" for kind, count in sorted(self.answers.items()))
        lines = [
            f"seed {self.seed}: {self.datagrams:,} datagrams and connections ({connections}) in {self.seconds:.0f} s",
            f"came back: {answers}",
            f"served again after {self.settled:.1f} s",
            *(f"{name}: {' '.join(map(str, figures))} MiB" for name, figures in self.memory.items()),
            *(
                f"{when}: PUBLISH to NOTIFY {figures['median']:.1f} ms, worst {figures['worst']:.1f} ms"
                for when, figures in self.latency.items()
            ),
            *(f"FAILED: {failure}" for failure in self.failures),
            "nothing failed" if not self.failures else f"{len(self.failures)} failures",
        ]
        return "\n".join(lines)


def leads_away(data: bytes) -> bool:
    """Whether a SUBSCRIBE could have somebody else than this machine notified."""
    if b"SUBSCRIBE" not in data:
        return False
    try:
        message = read_message(data)
        if not isinstance(message, Request):
            return False
        routes = [item for row in message.headers.all("record-route") for item in split_list(row)]
        contacts = [item for row in message.headers.all("contact") for item in split_list(row)]
        for contact in contacts:
            hop = route_in_dialog(parse_address(contact, "Contact").uri, routes).next_hop
            for host in (hop.host, hop.parameter("maddr") or "127.0.0.1"):
                if not host.endswith(".invalid") and not ipaddress.ip_address(host.strip("[]")).is_loopback:
                    return True
    except SipError:
        return False
    except ValueError:
        return True
    return False


class Source:
    """Makes what is sent, from chance alone."""

    def __init__(self, chance: random.Random, contact: str = "<sip:bob@127.0.0.1:9>") -> None:
        self._chance = chance
        self._contact = contact
        self._others = seeds.messages()
        self._own: list[bytes] = []

    def message(self, transport: str = "UDP") -> bytes:
        """A request, mutated or, now and then, as it should be."""
        while True:
            data = self._fresh(transport)
            if self._chance.random() < 0.97:
                data = mutate(self._chance, data, self._others)
            if not leads_away(data):
                return data

    def _fresh(self, transport: str) -> bytes:
        chance = self._chance
        branch = f"{chance.getrandbits(64):016x}"
        if chance.random() < 0.03:
            return chance.choice(seeds.STUN)
        if chance.random() < 0.4:
            return _BRANCH.sub(b"branch=z9hG4bK" + branch.encode(), chance.choice(self._others))
        return chance.choice(seeds.requests(branch, self._contact, transport))

    def response(self, request: bytes) -> bytes:
        """An answer to a NOTIFY, mutated more often than not."""
        head = request.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        wanted = (b"via:", b"from:", b"to:", b"call-id:", b"cseq:")
        rows = [row for row in head if row.lower().startswith(wanted)]
        status = self._chance.choice((200, 200, 200, 481, 500, 100, 302, 401, 999))
        data = b"\r\n".join([b"SIP/2.0 %d Whatever" % status, *rows, b"Content-Length: 0", b"", b""])
        return mutate(self._chance, data) if self._chance.random() < 0.6 else data


class Gun(asyncio.DatagramProtocol):
    """A socket that sends bursts and counts what comes back."""

    def __init__(self, report: Report, chance: random.Random) -> None:
        self._report = report
        self._chance = chance
        self.source: Source | None = None
        self._alive = asyncio.Event()
        self._waits_for = b""
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        port = transport.get_extra_info("sockname")[1]
        self.source = Source(self._chance, f"<sip:bob@127.0.0.1:{port}>")

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data.startswith(b"SIP/2.0 "):
            self._report.answers[data[8:11].decode("ascii", "replace")] += 1
            if self._waits_for and self._waits_for in data:
                self._alive.set()
        elif data.startswith(b"NOTIFY "):
            self._report.answers["NOTIFY"] += 1
            assert self._transport is not None
            assert self.source is not None
            self._transport.sendto(self.source.response(data))

    def error_received(self, exc: Exception) -> None:
        self._report.failures.append(f"the edge's port is closed: {exc}")

    async def burst(self) -> None:
        """Send so many and wait until the edge has read them; AssertionError where it does not."""
        assert self._transport is not None
        assert self.source is not None
        for _ in range(BURST):
            self._transport.sendto(self.source.message())
        self._report.datagrams += BURST
        branch = token("alive")
        ask = seeds.message("OPTIONS", branch=branch)
        self._alive.clear()
        self._waits_for = branch.encode()
        since = time.monotonic()
        while not self._alive.is_set():
            if time.monotonic() - since > PATIENCE:
                raise AssertionError(f"the edge did not answer OPTIONS within {PATIENCE:g} s")
            self._transport.sendto(ask)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._alive.wait(), 0.5)


async def hold_streams(running: RunningSet, source: Source, chance: random.Random, report: Report) -> None:
    """Open one connection after the other, and put on it what no client would; until cancelled."""
    kinds = ["tcp", *(kind for kind in ("ws", "tls") if kind in running.others)]
    while True:
        kind = chance.choice(kinds)
        report.connections[kind] += 1
        data = _on_stream(kind, source, chance)
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(*running.address(kind))
            try:
                await _send_in_pieces(writer, data, chance)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(chance.choice((0, 0.02, 0.2))):
                        while octets := await reader.read(65536):
                            report.answers[f"octets on {kind}"] += len(octets)
            finally:
                writer.transport.abort()


async def _send_in_pieces(writer: asyncio.StreamWriter, data: bytes, chance: random.Random) -> None:
    place = 0
    while place < len(data) and not writer.is_closing():
        size = chance.choice((1, 7, 500, len(data)))
        writer.write(data[place : place + size])
        place += size
        await asyncio.sleep(0)
    if chance.random() < 0.5 and writer.can_write_eof():
        writer.write_eof()


def _on_stream(kind: str, source: Source, chance: random.Random) -> bytes:
    messages = [source.message(kind.upper()) for _ in range(chance.randint(1, 5))]
    if kind == "tcp":
        return b"".join(messages)
    if kind == "tls":
        return b"\x16\x03\x01" + messages[0][:2000]
    data = b"".join(frame(chance.choice((TEXT, TEXT, 2, 0, 8, 9, 3)), message) for message in messages)
    if chance.random() < 0.5:
        data = mutate(chance, data)
    begin = opening()
    return (mutate(chance, begin) if chance.random() < 0.2 else begin) + data


async def resident(running: RunningSet) -> dict[str, int]:
    """MiB of each process."""
    found = {}
    for row in (await running.status())["processes"]:
        if row["pid"] and row["service"] not in {"postgres", "redis"}:
            pages = int(Path(f"/proc/{row['pid']}/statm").read_text(encoding="ascii").split()[1])
            found[f"{row['service']}-{row['index']}"] = pages * PAGE // 2**20
    return found


async def identities(running: RunningSet) -> dict[str, int]:
    """The pid of each process."""
    return {f"{row['service']}-{row['index']}": row["pid"] for row in (await running.status())["processes"]}


async def settled(running: RunningSet) -> float:
    """Seconds until a new publication is taken; AssertionError where that is not soon."""
    since = time.monotonic()
    async with opened(running) as phone:

        async def taken() -> bool:
            return (await phone.request(phone.publish(body=pidf(phone.aor), expires=60))).status == 200

        await until(taken, "publications are taken again", deadline=PATIENCE)
    return round(time.monotonic() - since, 2)


async def rounds(running: RunningSet, count: int) -> dict[str, float]:
    """Milliseconds from PUBLISH to NOTIFY: median and worst; AssertionError where a state is not seen."""
    took = []
    async with opened(running) as alice, opened(running) as bob:
        dialog, _ = await bob.subscribed(alice.aor)
        tag: str | None = None
        for number in range(count):
            note = f"round {number}"
            since = time.monotonic()
            response = await alice.request(alice.publish(body=pidf(alice.aor, note=note), if_match=tag))
            assert response.status == 200, response.start
            tag = response["sip-etag"]
            await bob.notify_where(lambda notify, note=note: note.encode() in notify.body)  # type: ignore[misc]
            took.append((time.monotonic() - since) * 1000)
        assert (await bob.request(bob.subscribe(dialog, expires=0))).status == 200
        await bob.notify_where(lambda notify: notify.state == "terminated")
        assert (await alice.request(alice.publish(if_match=tag, expires=0))).status == 200
    return {"median": round(median(took), 2), "worst": round(max(took), 2)}


class Logs:
    """What the services write from now on."""

    def __init__(self, running: RunningSet) -> None:
        self._folder = running.data / "log"
        self._read = {path: path.stat().st_size for path in self._folder.glob("*.log")}

    def complaints(self) -> list[str]:
        """The lines that tell of a fault, of Postgres's none."""
        found = []
        for path in sorted(self._folder.glob("*.log")):
            if path.name.startswith(("postgres", "redis")):
                continue
            with path.open(encoding="utf-8", errors="replace") as file:
                file.seek(self._read.get(path, 0))
                found += [f"{path.name}: {line.strip()[:2000]}" for line in file if _COMPLAINTS.search(line)]
        return found


async def attack(
    running: RunningSet,
    seed: int,
    say: Say,
    *,
    datagrams: int | None = None,
    seconds: float | None = None,
    count: int = ROUNDS,
) -> Report:
    """Send so many datagrams, or for so long, with streams beside them; what came of it.

    Before and after, `count` changes are published and seen.
    """
    report = Report(seed)
    logs = Logs(running)
    before = await identities(running)
    report.latency["before"] = await rounds(running, count)
    begun = time.monotonic()
    loop = asyncio.get_running_loop()
    transport, gun = await loop.create_datagram_endpoint(
        lambda: Gun(report, random.Random(f"{seed} datagrams")), remote_addr=running.sip
    )
    tasks = []
    for number in range(STREAMS):
        chance = random.Random(f"{seed} stream {number}")
        tasks.append(asyncio.create_task(hold_streams(running, Source(chance), chance, report)))

    def part() -> float:
        if datagrams is not None:
            return report.datagrams / datagrams
        assert seconds is not None
        return (time.monotonic() - begun) / seconds

    told = -1
    try:
        while part() < 1 and not report.failures:
            await gun.burst()
            if int(part() * 10) > told:
                told = int(part() * 10)
                for name, size in (await resident(running)).items():
                    report.memory.setdefault(name, []).append(size)
                report.failures += [f"a task ended: {task}" for task in tasks if task.done()]
                rate = report.datagrams / (time.monotonic() - begun)
                connections = sum(report.connections.values())
                done = f"{report.datagrams:,} datagrams, {rate:,.0f}/s, {connections:,} connections"
                edge = report.memory.get("edge-0", [0])[-1]
                say(f"{min(1, part()):4.0%}  {done}, edge {edge} MiB")
        report.seconds = time.monotonic() - begun
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        transport.close()
        report.settled = await settled(running)
        report.latency["after"] = await rounds(running, count)
    except (AssertionError, TimeoutError, OSError) as error:
        report.failures.append(f"{type(error).__name__}: {error}")
    finally:
        for task in tasks:
            task.cancel()
        transport.close()
    now = await identities(running)
    report.failures += [f"{name} has died" for name, pid in before.items() if now.get(name) != pid]
    report.failures += logs.complaints()
    return report
