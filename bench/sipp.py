"""SIPp, the load generator: one scenario at one rate for some seconds."""

import asyncio
import csv
import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vedette_cli.supervisor.child import spawn, stop

SCENARIOS = Path(__file__).with_name("scenarios")
BUFFER = 4 * 1024 * 1024
ANSWER_PATIENCE_MS = 4000
"""A message that is awaited longer fails its call."""
LATE = 1.1
LATE_SECONDS = 0.7
MOST_RETRANSMISSIONS = 0.01


class SippError(Exception):
    """SIPp is not there, or did not run."""


@dataclass(frozen=True)
class Step:
    """What one run of a scenario showed."""

    rate: int
    """Calls offered in a second."""
    calls: int
    succeeded: int
    retransmissions: int
    seconds: float
    response_ms: float
    """Mean time until the final response."""
    log: tuple[tuple[str, ...], ...]
    """What the scenario logged, split at semicolons."""

    @property
    def held(self) -> bool:
        """Whether all was answered well, with next to no retransmissions, and as fast as it was offered."""
        return (
            self.succeeded == self.calls
            and self.retransmissions < MOST_RETRANSMISSIONS * self.calls
            and self.seconds <= LATE * self.calls / self.rate + LATE_SECONDS
        )

    def describe(self) -> str:
        """For a progress line."""
        failed = self.calls - self.succeeded
        return (
            f"{self.rate:>6}/s {'held' if self.held else 'not held'}: {failed} of {self.calls} failed, "
            f"{self.retransmissions} retransmissions, {self.seconds:.1f} s, answer in {self.response_ms:.1f} ms"
        )


def missing() -> str | None:
    """What is not installed, None where everything is there."""
    return "sipp (Debian package sip-tester)" if shutil.which("sipp") is None else None


async def run(
    scenario: str,
    target: tuple[str, int],
    folder: Path,
    *,
    rate: int,
    calls: int,
    run_id: str,
    rows: Sequence[tuple[str, ...]] = (),
) -> Step:
    """Offer `calls` calls of a scenario at `rate`; `rows` are its fields, one row for each call."""
    statistics, log = folder / f"{run_id}.csv", folder / f"{run_id}.log"
    arguments = [*command(scenario, target, log, run_id), "-r", str(rate), "-m", str(calls), "-l", str(calls)]
    arguments += ["-recv_timeout", str(ANSWER_PATIENCE_MS), "-trace_stat", "-stf", str(statistics), "-fd", "1"]
    if rows:
        fields = folder / f"{run_id}.fields"
        fields.write_text("SEQUENTIAL\n" + "".join(";".join(row) + "\n" for row in rows), encoding="ascii")
        arguments += ["-inf", str(fields)]
    began = time.monotonic()
    process = await spawn(arguments, log=folder / "sipp.out", cwd=folder)
    patience = calls / rate * 3 + 60
    try:
        async with asyncio.timeout(patience):
            await process.wait()
    except TimeoutError:
        raise SippError(f"sipp does not end after {patience:.0f} s at {rate}/s") from None
    finally:
        await stop(process, patience=2)
    return _read(rate, calls, time.monotonic() - began, statistics, log)


def command(scenario: str, target: tuple[str, int], log: Path, run_id: str) -> list[str]:
    """SIPp with what every run of it needs. `run_id` makes the names of its users new."""
    host, port = target
    return [
        "sipp", "-sf", str(SCENARIOS / f"{scenario}.xml"), f"{host}:{port}", "-i", host, "-p", str(free_port(host)),
        "-key", "run", run_id, "-cid_str", f"{run_id}-%u-%p@%s", "-buff_size", str(BUFFER), "-nostdin",
        "-trace_logs", "-log_file", str(log), "-nd",
    ]  # fmt: skip


def free_port(host: str) -> int:
    """A UDP port that nobody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _read(rate: int, calls: int, seconds: float, statistics: Path, log: Path) -> Step:
    try:
        with statistics.open(encoding="ascii", newline="") as stream:
            *_, last = csv.DictReader(stream, delimiter=";")
    except (OSError, ValueError):
        raise SippError(f"sipp wrote no statistics at {rate}/s; see sipp.out beside {statistics}") from None
    return Step(
        rate=rate,
        calls=calls,
        succeeded=int(last["SuccessfulCall(C)"]),
        retransmissions=int(last["Retransmissions(C)"]),
        seconds=seconds,
        response_ms=1000 * read_duration(last["ResponseTime1(C)"]),
        log=read_log(log),
    )


def read_duration(text: str) -> float:
    """Seconds of `00:00:05`, `00:00:05:012000` (microseconds last)."""
    hours, minutes, seconds, *fraction = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + (int(fraction[0]) / 1e6 if fraction else 0.0)


def read_log(log: Path) -> tuple[tuple[str, ...], ...]:
    """The whole lines that a scenario has logged so far."""
    try:
        text = log.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return ()
    return tuple(tuple(line.strip().split(";")) for line in text.split("\n")[:-1] if line.strip())
