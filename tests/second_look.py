"""A second look at what failed in a run of all tests: `python -m tests.second_look` (docs/decisions/0035).

A run keeps what failed in it. Where that is little, and no promise to a client was broken, it runs again: by itself,
in one process, twice. Whoever fails there, too, has failed; whoever passes is named as unreliable.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

MOST = 3
"""Tests that get a second look: more than that have a cause in common."""
TIMES = 2
"""Runs of each of them, all to be passed."""
KEPT = Path(".pytest_cache", "second_look.json")
BROKEN = "promise broken"
PHASES = ("setup", "call", "teardown")
"""What fails in a test; the death of its process is none of them (pytest-xdist)."""


class PromiseBrokenError(AssertionError):
    """What no server may do was seen: that it is rare excuses nothing, so there is no second look."""


@dataclass
class Failed:
    """What a run of tests keeps for whoever looks at it later."""

    tests: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Those that saw a promise broken."""
    crashed: bool = False
    """Whether a process of tests died: what it had yet to run may never have run."""


class FailuresKept:
    """The plugin that keeps them; nothing where a run was cut off."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._failed = Failed()

    def pytest_sessionstart(self) -> None:
        """What an earlier run has kept is no longer true."""
        self._keep(None)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Any:
        """Where a test runs: its report says whether a promise was broken."""
        report = yield
        if call.excinfo is not None and call.excinfo.errisinstance(PromiseBrokenError):
            report.user_properties.append((BROKEN, True))
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Where all reports come in."""
        if report.failed:
            self._note(report.nodeid)
            self._failed.crashed |= report.when not in PHASES
            if (BROKEN, True) in map(tuple, report.user_properties):
                self._failed.broken.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be read is one that failed."""
        if report.failed:
            self._note(report.nodeid)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Keep them, if the run has come to its end."""
        if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            self._keep(self._failed)

    def _note(self, test: str) -> None:
        if test not in self._failed.tests:
            self._failed.tests.append(test)

    def _keep(self, failed: Failed | None) -> None:
        if hasattr(self._config, "workerinput"):
            return
        kept = self._config.rootpath / KEPT
        if failed is None:
            kept.unlink(missing_ok=True)
        else:
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(json.dumps(asdict(failed)), encoding="utf-8")


def last_run() -> Failed | None:
    """What the last run from this folder has kept; None: nothing, since it did not come to its end."""
    return Failed(**json.loads(KEPT.read_text(encoding="utf-8"))) if KEPT.exists() else None


def refusal(failed: Failed | None) -> str:
    """Why there is no second look; "" where there is one."""
    if failed is None:
        return "the run did not come to its end"
    if failed.crashed:
        return f"a process of tests died: {', '.join(failed.tests)}"
    if not failed.tests:
        return "no test failed: something else did"
    if failed.broken:
        return f"a promise was broken: {', '.join(failed.broken)}"
    if len(failed.tests) > MOST:
        return f"{len(failed.tests)} tests failed, and {MOST} at most are looked at again"
    return ""


def look(failed: Failed | None, run: Callable[[Sequence[str]], int], say: Callable[[str], None]) -> int:
    """Run again what may be; the exit code: 0 where all of it passed each time."""
    why_not = refusal(failed)
    if why_not or failed is None:
        say(f"no second look: {why_not}")
        return 1
    for number in range(1, TIMES + 1):
        say(f"second look, {number} of {TIMES}: {', '.join(failed.tests)}")
        if code := run(failed.tests):
            say("failed again")
            return code
    for test in failed.tests:
        say(f"UNRELIABLE, failed once and passed {TIMES} times by itself; its failure is above: {test}")
    return 0


def _run(tests: Sequence[str]) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", "-n0", *tests], check=False).returncode


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """The exit code for CI."""
    return look(last_run(), _run, _say)


if __name__ == "__main__":
    sys.exit(main())
