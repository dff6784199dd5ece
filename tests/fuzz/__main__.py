"""Hostile input for a given time: `python -m tests.fuzz --minutes 10 --seed 7`, or `--datagrams 1000000`."""

import argparse
import asyncio
import json
import sys
import time
import traceback

from tests.fuzz.campaign import Report, attack
from tests.fuzz.targets import TARGETS
from tests.running_set import started

READERS = 0.3
"""The part of the time that readers in this process get."""


def say(line: str) -> None:
    """Progress, beside the result."""
    sys.stderr.write(f"{line}\n")


def read(seed: int, seconds: float) -> tuple[dict[str, int], list[str]]:
    """How many inputs each reader got in so many seconds, and how they broke."""
    counted: dict[str, int] = {}
    failures: list[str] = []
    for name, target in TARGETS.items():
        ends = time.monotonic() + seconds / len(TARGETS)
        number = 0
        while time.monotonic() < ends and len(failures) < 10:
            key = f"{seed} {number}"
            number += 1
            try:
                target.run(target.input(key))
            except Exception as error:  # noqa: BLE001 - whatever it is, it should not have come out
                where = traceback.format_tb(error.__traceback__)[-1].strip().replace("\n", " ")
                failures.append(f"{name}: TARGETS[{name!r}].input({key!r}): {type(error).__name__}: {error} {where}")
        counted[name] = number
        say(f"{name}: {number:,} inputs")
    return counted, failures


async def _attack(seed: int, datagrams: int | None, seconds: float) -> Report:
    async with started("--ws-port", "0", "--tls-port", "0") as running:
        return await attack(running, seed, say, datagrams=datagrams, seconds=seconds)


def main() -> None:
    """Run it; the exit code is 1 where something failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Hostile input, from a seed.")
    parser.add_argument("--minutes", type=float, default=3.0, help="about how long")
    parser.add_argument("--datagrams", type=int, default=None, help="so many datagrams, however long it takes")
    parser.add_argument("--seed", type=int, default=None, help="which; none: from the clock")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    seconds = options.minutes * 60
    say(f"seed {seed}: python -m tests.fuzz --minutes {options.minutes:g} --seed {seed}")
    counted, failures = read(seed, seconds * READERS)
    report = asyncio.run(_attack(seed, options.datagrams, seconds * (1 - READERS)))
    report.failures = failures + report.failures
    if options.json:
        sys.stdout.write(json.dumps({"readers": counted, **report.as_dict()}) + "\n")
    else:
        sys.stdout.write(f"readers: {sum(counted.values()):,} inputs\n{report.as_text()}\n")
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()
