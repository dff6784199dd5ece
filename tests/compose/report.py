"""What is being shown, for a person line by line, and at the end for a program."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TextIO

Fact = str | int | float


@dataclass
class Step:
    """One thing that was shown: what was measured while showing it."""

    name: str
    seconds: float = 0.0
    ok: bool = False
    facts: dict[str, Fact] = field(default_factory=dict)


class Report:
    """The steps so far. As JSON the result goes to stdout, and the progress to stderr."""

    def __init__(self, *, as_json: bool) -> None:
        self.steps: list[Step] = []
        self._as_json = as_json
        self._progress: TextIO = sys.stderr if as_json else sys.stdout
        self._began = time.monotonic()

    def say(self, line: str) -> None:
        """A line of progress."""
        self._progress.write(f"{line}\n")
        self._progress.flush()

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """One step; it is done when nothing was raised."""
        step = Step(name)
        self.steps.append(step)
        self.say(f"[{time.monotonic() - self._began:5.1f}] {name}")
        began = time.monotonic()
        try:
            yield step
            step.ok = True
        finally:
            step.seconds = round(time.monotonic() - began, 1)
            facts = "".join(f", {key} {value}" for key, value in step.facts.items())
            self.say(f"        {'ok' if step.ok else 'NOT SHOWN'} in {step.seconds:g} s{facts}")

    def end(self, problem: str | None) -> int:
        """Say how it ended; the exit code."""
        seconds = round(time.monotonic() - self._began, 1)
        if self._as_json:
            steps = [asdict(step) for step in self.steps]
            result = {"ok": problem is None, "problem": problem, "seconds": seconds, "steps": steps}
            sys.stdout.write(json.dumps(result) + "\n")
        elif problem is None:
            self.say(f"compose-test: all {len(self.steps)} steps shown in {seconds:g} s")
        if problem is not None:
            sys.stderr.write(f"compose-test: {problem}\n")
        return 0 if problem is None else 1
