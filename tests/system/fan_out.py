"""One presentity, hundreds of watchers, and a process that is killed while they are being told.

`python -m tests.system.fan_out --watchers 300 --times 5` prints how long it took until the last one knew.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator

import asyncpg

from tests.phone import Dialog, Message, Phone, learn, pidf, token
from tests.running_set import RunningSet, started
from tests.system.load import read_state
from tests.wait import until_true

PHONES = 8
AT_ONCE = 32
SERVICES = ("core", "notifier", "edge")
DEADLINE = 60.0


class FanOut:
    """A publisher and its watchers, many to each UDP socket; `shown` is the number each dialog was shown last."""

    def __init__(self, running: RunningSet, watchers: int) -> None:
        self.running = running
        self.publisher = Phone(running.sip, "udp", token("p"))
        self.shown: dict[str, int] = {}
        self.faults: list[str] = []
        """NOTIFYs that took a watcher back, or whose CSeq did not rise."""
        self._cseqs: dict[str, tuple[int, str]] = {}
        self._watchers = watchers
        self._phones = [Phone(running.sip, "udp", token("w")) for _ in range(PHONES)]
        self._etag: str | None = None
        self._number = 0

    async def start(self) -> None:
        """Publish for the first time, and subscribe for all."""
        await self.publisher.open()
        await asyncio.gather(*(phone.open() for phone in self._phones))
        await self.publish()
        turn = asyncio.Semaphore(AT_ONCE)

        async def subscribe(phone: Phone, dialog: Dialog) -> None:
            async with turn:
                response = await phone.request(phone.subscribe(dialog, expires=3600))
            assert response.status == 200, response.start
            learn(dialog, response)

        for phone in self._phones:
            phone.answer = self._notified
        phones = [self._phones[number % PHONES] for number in range(self._watchers)]
        dialogs = [(phone, phone.dialog(self.publisher.aor)) for phone in phones]
        await asyncio.gather(*(subscribe(phone, dialog) for phone, dialog in dialogs))
        await self.all_know()

    def _notified(self, request: Message) -> int:
        call_id, cseq = request["call-id"], int(request["cseq"].split()[0])
        before, branch = self._cseqs.get(call_id, (0, ""))
        if cseq < before:
            return 500
        if cseq == before:
            if branch != request.branch:
                self.faults.append(f"{call_id}: CSeq {cseq} used again")
            return 200
        self._cseqs[call_id] = (cseq, request.branch)
        number = max((read_state(request.body) or {}).values(), default=0)
        if number < self.shown.get(call_id, 0):
            self.faults.append(f"{call_id}: from {self.shown[call_id]} back to {number}")
        self.shown[call_id] = number
        return 200

    def half_are_deaf(self, *, deaf: bool) -> None:
        """Whether every other phone gets nothing, as if it had been lost on the way."""
        for phone in self._phones[::2]:
            phone.answer = (lambda _: None) if deaf else self._notified

    async def publish(self) -> None:
        """Publish the next number; return when it is acknowledged."""
        self._number += 1
        phone = self.publisher
        body = pidf(phone.aor, note=f"{phone.user} {self._number}")
        response = await phone.request(phone.publish(phone.aor, body=body, if_match=self._etag))
        assert response.status == 200, response.start
        self._etag = response["sip-etag"]

    def told(self) -> int:
        """How many were shown the last number."""
        return sum(number == self._number for number in self.shown.values())

    async def all_know(self) -> None:
        """Return when every watcher was shown the last number."""
        await until_true(
            lambda: len(self.shown) == self._watchers == self.told(), "every watcher knows", deadline=DEADLINE
        )

    async def close(self) -> None:
        """Close all sockets."""
        await asyncio.gather(*(phone.close() for phone in [self.publisher, *self._phones]))


@contextlib.asynccontextmanager
async def fanning_out(running: RunningSet, watchers: int) -> AsyncIterator[FanOut]:
    """Watchers that all know the first number."""
    fan_out = FanOut(running, watchers)
    try:
        await fan_out.start()
        yield fan_out
    finally:
        await fan_out.close()


async def kill_in_the_middle(fan_out: FanOut, service: str, database: "asyncpg.Connection[asyncpg.Record]") -> float:
    """Publish, and kill a process of the service while the watchers are being told; seconds until all know.

    A core is killed while it is to store the change; a notifier when it has claimed NOTIFYs; an edge when half of the
    watchers know, and the NOTIFYs to the others are lost.
    """
    replicas = (await fan_out.running.get("/api/v1/replicas"))["items"]
    pids = {row["instance"]: row["pid"] for row in replicas}
    fan_out.half_are_deaf(deaf=service == "edge")
    publishing = asyncio.create_task(fan_out.publish())
    await asyncio.sleep(0)  # the request leaves
    try:
        os.kill(await _victim(fan_out, service, database, pids), signal.SIGKILL)
        since = time.monotonic()
        fan_out.half_are_deaf(deaf=False)
        await publishing
        await fan_out.all_know()
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
    return time.monotonic() - since


async def _victim(
    fan_out: FanOut, service: str, database: "asyncpg.Connection[asyncpg.Record]", pids: dict[str, int]
) -> int:
    """The pid of a process that has the change in hand; of any of the service, where all was done too soon."""
    if service == "notifier":
        for _ in range(200):
            instance = await database.fetchval(
                "SELECT outstanding_notifier FROM delivery "
                "WHERE presentity_uri = $1 AND outstanding_cseq IS NOT NULL LIMIT 1",
                fan_out.publisher.aor,
            )
            if instance is not None:
                return pids[instance]
    elif service == "edge":
        await until_true(fan_out.told, "some know")
        return pids[
            await database.fetchval(
                "SELECT edge_instance FROM delivery WHERE presentity_uri = $1 AND edge_instance IS NOT NULL LIMIT 1",
                fan_out.publisher.aor,
            )
        ]
    return int((await fan_out.running.processes(service))[0]["pid"])


async def measure(watchers: int, times: int) -> dict[str, list[float]]:
    """For each service, the seconds that it took, so many times."""
    found: dict[str, list[float]] = {service: [] for service in SERVICES}
    async with started("--edges", "2", "--cores", "2", "--notifiers", "2") as running:
        password = (running.data / "secrets" / "database_password").read_text().strip()
        sockets = next(
            row["address"] for row in (await running.status())["processes"] if row["service"] == "postgres"
        )
        database = await asyncpg.connect(host=sockets, user="vedette", password=password, database="vedette")
        try:
            async with fanning_out(running, watchers) as fan_out:
                for _ in range(times):
                    for service in SERVICES:
                        found[service].append(await kill_in_the_middle(fan_out, service, database))
                        await running.all_ready()
                assert fan_out.faults == []
        finally:
            await database.close()
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="A process is killed in the middle of a fan-out.")
    parser.add_argument("--watchers", type=int, default=300)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    for service, seconds in asyncio.run(measure(options.watchers, options.times)).items():
        sys.stdout.write(
            f"kill -9 {service:8} of two, {options.watchers} watchers: all knew after "
            f"{statistics.median(seconds):.2f} s (median), {max(seconds):.2f} s (worst of {len(seconds)})\n"
        )


if __name__ == "__main__":
    main()
