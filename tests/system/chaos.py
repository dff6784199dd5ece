"""Faults in random combinations under a load, from one seed: `python -m tests.system.chaos --minutes 3 --seed 7`.

A round is a row of episodes. In each a new load is at work while one to three faults are done to the set, in a
network of changing weather; then the set has to be whole again, every watcher up to date and every promise kept.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import random
import signal
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import redis.asyncio

from tests.backend import Backend, backend_started, frozen
from tests.running_set import RunningSet, started
from tests.second_look import PromiseBrokenError
from tests.system.figures import Figures, caught_up
from tests.system.history import disturbances, overtaken_notifies
from tests.system.load import Load, loaded
from tests.system.misbehaving import MANNERS, MisbehavingWatcher
from tests.system.postgres_proxy import PostgresProxy, proxied
from tests.system.relay import CALM, Relay, Weather
from tests.wait import until
from vedette_cli.supervisor.control import ask

EACH = 2
"""Processes of each service."""
WHOLE_AGAIN = 90.0
MOST_FAULTS = 3
LONGEST_PAUSE = 3.0
LONG_PAUSE = 20.0
LONGEST_ORDER = 300.0
SERVICES = ("edge", "core", "notifier")

Say = Callable[[str], None]


@dataclass(frozen=True)
class World:
    """What faults are done to."""

    running: RunningSet
    backend: Backend
    proxy: PostgresProxy
    load: Load
    chance: random.Random

    async def pid(self, service: str) -> int | None:
        """A process of a service; None where none is up."""
        pids = [row["pid"] for row in await self.running.processes(service) if row["pid"]]
        return self.chance.choice(pids) if pids else None

    async def order(self, request: dict[str, Any]) -> None:
        """Have the set do what a `vedette` command asks for, however long it takes."""
        answer = await asyncio.to_thread(ask, self.running.data, request, timeout=LONGEST_ORDER)
        assert "error" not in answer, answer

    def pause(self) -> float:
        """Seconds that something lasts."""
        return self.chance.uniform(0.5, LONGEST_PAUSE)


Fault = Callable[[World], Awaitable[None]]
"""Does something and returns when it is over, as far as it is up to us; then the time of convergence begins."""


def signalled(service: str, number: signal.Signals) -> Fault:
    """A signal to one process of a service, after which the time begins at once."""

    async def fault(world: World) -> None:
        pid = await world.pid(service)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    return fault


def paused(service: str) -> Fault:
    """One process of a service does nothing for a while."""

    async def fault(world: World) -> None:
        pid = await world.pid(service)
        if pid is not None:
            with frozen(pid):
                await asyncio.sleep(world.pause())

    return fault


async def _redis_killed(world: World) -> None:
    server = world.backend.redis
    assert server.process is not None
    server.process.kill()
    await server.process.wait()
    await asyncio.sleep(world.pause())
    await server.start()


async def _redis_flushed(world: World) -> None:
    client = redis.asyncio.Redis.from_url(world.backend.redis.url())
    try:
        await client.flushall()
    finally:
        await client.aclose()


def _redis_paused(seconds: float | None = None) -> Fault:
    async def fault(world: World) -> None:
        process = world.backend.redis.process
        assert process is not None
        with frozen(process.pid):
            await asyncio.sleep(seconds or world.pause())

    return fault


def _postgres_stopped(number: signal.Signals) -> Fault:
    async def fault(world: World) -> None:
        await world.backend.stop_postgres(number)
        await asyncio.sleep(world.pause())
        await world.backend.start_postgres()

    return fault


async def _postgres_paused(world: World) -> None:
    with frozen(*world.backend.postgres_processes()):
        await asyncio.sleep(world.pause())


async def _postgres_cuts(world: World) -> None:
    await world.backend.cut_connections()


async def _postgres_connections_break(world: World) -> None:
    world.proxy.cut()


async def _postgres_slow(world: World) -> None:
    world.proxy.delay = world.chance.uniform(0.01, 0.1)
    try:
        await asyncio.sleep(world.pause())
    finally:
        world.proxy.delay = 0.0


async def _restart(world: World) -> None:
    await world.order({"command": "restart", "services": ["core", "notifier", "edge"]})


async def _scale(world: World) -> None:
    for counts in ({"core": 3, "notifier": 1, "edge": 3}, dict.fromkeys(SERVICES, EACH)):
        await world.order({"command": "scale", "counts": counts})


async def _watchers_misbehave(world: World) -> None:
    presentity = world.chance.choice(world.load.publishers).aor
    watchers = [MisbehavingWatcher(world.running, presentity, manner) for manner in MANNERS]
    try:
        with contextlib.suppress(TimeoutError, AssertionError, OSError):
            await asyncio.gather(*(watcher.start() for watcher in watchers))
        await asyncio.sleep(world.pause())
    finally:
        await asyncio.gather(*(watcher.close() for watcher in watchers))


FAULTS: dict[str, Fault] = {
    **{f"kill -9 {service}": signalled(service, signal.SIGKILL) for service in SERVICES},
    **{f"SIGTERM {service}": signalled(service, signal.SIGTERM) for service in SERVICES},
    **{f"pause {service}": paused(service) for service in SERVICES},
    "redis killed": _redis_killed,
    "redis flushed": _redis_flushed,
    "redis paused": _redis_paused(),
    "postgres restarted": _postgres_stopped(signal.SIGINT),
    "postgres killed": _postgres_stopped(signal.SIGKILL),
    "postgres paused": _postgres_paused,
    "postgres cuts connections": _postgres_cuts,
    "postgres connections break": _postgres_connections_break,
    "postgres slow": _postgres_slow,
    "watchers misbehave": _watchers_misbehave,
}
LONG_FAULTS: dict[str, Fault] = {
    "redis paused for 20 s": _redis_paused(LONG_PAUSE),
    "vedette restart": _restart,
    "vedette scale": _scale,
}
_EXCLUSIVE = ("postgres", "redis", "vedette")
"""Of two faults to the same server only one is done: the other would find it stopped."""
_EDGES_CHANGE = frozenset(
    {*(f"{what} edge" for what in ("kill -9", "SIGTERM", "pause")), "vedette restart", "vedette scale"}
)
"""Faults after which an edge may still send what another one has taken over: its watchers refuse that."""
WEATHERS = {
    "calm": CALM,
    "loss": Weather(loss=0.1),
    "duplication": Weather(duplication=0.3),
    "reordering": Weather(reordering=0.2),
    "delay": Weather(delay=0.1),
    "bad": Weather(loss=0.05, duplication=0.2, reordering=0.2, delay=0.05),
}


def choose(chance: random.Random, faults: list[str], count: int) -> list[str]:
    """So many of the faults, in an order, that can be done at once."""
    chosen: list[str] = []
    for name in chance.sample(faults, len(faults)):
        kind = name.split()[0]
        if kind not in _EXCLUSIVE or all(other.split()[0] != kind for other in chosen):
            chosen.append(name)
        if len(chosen) == count:
            break
    return chosen


@dataclass
class Report:
    """What a round has found out."""

    seed: int
    seconds: float = 0.0
    faults: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    weathers: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    figures: Figures = field(default_factory=Figures)
    lost: list[str] = field(default_factory=list)
    """Promises that were not kept, and what did not come to its end; there must be none."""
    broken: bool = False
    """Whether any promise to a client was."""
    given_up: int = 0
    """NOTIFYs that were followed by the next one, or an end that was told again, before they were answered."""
    convergence: list[float] = field(default_factory=list)
    """Seconds from the last fault of an episode until a watcher was shown a later change; one for each watcher."""
    worst: dict[str, float] = field(default_factory=dict)
    """The longest of them, by fault, of the episodes in which it was alone."""
    medians: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, names: list[str], load: Load, since: float) -> float:
        """Count an episode; its longest convergence."""
        self.figures.add(load.history)
        self.given_up += len(disturbances(load.history))
        times = [seconds for seconds in caught_up(load.history, since).values() if seconds is not None]
        self.convergence += times
        longest = max(times)
        if len(names) == 1:
            self.worst[names[0]] = max(longest, self.worst.get(names[0], 0.0))
            self.medians[names[0]] += times
        return longest

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {
            "seed": self.seed,
            "seconds": round(self.seconds),
            "faults": dict(self.faults),
            "weathers": dict(self.weathers),
            **dataclasses.asdict(self.figures),
            "lost": len(self.lost),
            "given_up": self.given_up,
            "convergence_median": round(statistics.median(self.convergence or [0.0]), 2),
            "convergence_worst": round(max(self.convergence, default=0.0), 2),
            "alone": {
                name: {"median": round(statistics.median(self.medians[name]), 2), "worst": round(worst, 2)}
                for name, worst in sorted(self.worst.items())
            },
        }

    def as_text(self) -> str:
        """For a person."""
        found = self.as_dict()
        lines = [
            f"seed {self.seed}, {found['seconds']} s, {sum(self.faults.values())} faults:",
            *(f"  {count:4} {name}" for name, count in sorted(self.faults.items())),
            f"weather: {', '.join(f'{name} {count}' for name, count in sorted(self.weathers.items()))}",
            f"requests acknowledged {found['acknowledged']}, refused {found['refused']}, lost {found['lost']}",
            f"NOTIFYs {found['notifies']}, copies {found['copies']}, duplicates {found['duplicates']}",
            f"given up before they were answered {found['given_up']}",
            "from the fault, or its end where it lasts, until the watchers had news:",
            f"  {found['convergence_median']:6.2f} {found['convergence_worst']:6.2f}  s, median and worst of all",
            *(
                f"  {times['median']:6.2f} {times['worst']:6.2f}  {name}, alone"
                for name, times in found["alone"].items()
            ),
        ]
        return "\n".join(lines)


@contextlib.asynccontextmanager
async def _set_at_work() -> AsyncIterator[tuple[RunningSet, Backend, PostgresProxy]]:
    async with backend_started() as backend, proxied(backend.folders.sockets) as proxy:
        url = f"postgresql://vedette:{backend.password}@127.0.0.1:{proxy.port}/vedette"
        arguments = [f"--{name}={EACH}" for name in ("edges", "cores", "notifiers")]
        async with started(*arguments, f"--database-url={url}", f"--redis-url={backend.redis.url()}") as running:
            yield running, backend, proxy


async def _episode(world: World, names: list[str], faults: dict[str, Fault]) -> float:
    """Do the faults, each at its own moment; when the last one was over."""

    async def do(name: str, after: float) -> None:
        await asyncio.sleep(after)
        await faults[name](world)

    starts = [world.chance.uniform(0, 1) for _ in names]
    await asyncio.gather(*(do(name, start) for name, start in zip(names, starts, strict=True)))
    return time.monotonic()


async def play(seed: int, seconds: float, say: Say, *, long: bool = False) -> Report:
    """A round of about so many seconds; at least one episode. `long`: with the faults that take long, too."""
    report = Report(seed)
    chance = random.Random(seed)
    faults = {**FAULTS, **(LONG_FAULTS if long else {})}
    turn = chance.sample(sorted(faults), len(faults))
    begun = time.monotonic()
    async with _set_at_work() as (running, backend, proxy):
        for number in range(1, 100_000):
            # Each fault has its turn alone now and then; in between there are several at once.
            names = [turn[number // 2 % len(turn)]] if number % 2 else []
            names = names or choose(chance, sorted(faults), chance.randint(2, MOST_FAULTS))
            weather = chance.choice(sorted(WEATHERS)) if chance.random() < 0.5 else "calm"
            say(f"{time.monotonic() - begun:5.0f} s  {' + '.join(names)}  ({weather})")
            relay = Relay(running.sip, seed + number, WEATHERS[weather])
            try:
                async with loaded(running, relay) as load:
                    world = World(running, backend, proxy, load, random.Random(f"{seed} {number}"))
                    since = await _episode(world, names, faults)
                    for name in names:
                        report.faults[name] += 1
                    report.weathers[weather] += 1
                    await until(_whole(running), "the set is whole again", deadline=WHOLE_AGAIN)
                    await load.goes_on()
                    lost = await load.violations()
                    if weather == "calm" and not _EDGES_CHANGE.intersection(names):
                        lost += overtaken_notifies(load.history)
                    report.broken |= bool(lost)
                    longest = report.add(names, load, since)
            except (AssertionError, TimeoutError, OSError) as error:
                lost, longest = [f"{type(error).__name__}: {error}"], 0.0
                report.broken |= isinstance(error, PromiseBrokenError)
            finally:
                relay.close()
            report.lost += lost
            say(f"         all watchers had news after {longest:.2f} s")
            for line in lost:
                say(f"  LOST   {line}")
            report.seconds = time.monotonic() - begun
            if report.seconds >= seconds:
                break
    return report


def _whole(running: RunningSet) -> Callable[[], Awaitable[bool]]:
    async def whole() -> bool:
        rows = (await running.status())["processes"]
        return all(row["ready"] and row["pid"] for row in rows)

    return whole


def main() -> None:
    """Play a round; the exit code is 1 where something was lost."""
    parser = argparse.ArgumentParser(description="Faults in random combinations under a load.")
    parser.add_argument("--minutes", type=float, default=3.0, help="about how long")
    parser.add_argument("--seed", type=int, default=None, help="which round; none: from the clock")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed

    def say(line: str) -> None:
        sys.stderr.write(f"{line}\n")

    say(f"seed {seed}: python -m tests.system.chaos --minutes {options.minutes:g} --seed {seed}")
    report = asyncio.run(play(seed, options.minutes * 60, say, long=options.minutes >= 2))
    sys.stdout.write(f"{json.dumps(report.as_dict()) if options.json else report.as_text()}\n")
    sys.exit(1 if report.lost else 0)


if __name__ == "__main__":
    main()
