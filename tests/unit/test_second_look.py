"""What failed in a run of tests is looked at again where that is little, and excuses no broken promise."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.second_look import MOST, TIMES, Failed, look
from tests.vectors import ROOT

CONFTEST = """
import pytest

from tests.second_look import FailuresKept


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(FailuresKept(config))
"""
# Passes from the second time on, as an unreliable test may.
UNRELIABLE = """
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["a", "b c"])
def test_now_and_then(name: str) -> None:
    seen = Path(__file__).with_name(name)
    times = len(seen.read_text()) if seen.exists() else 0
    seen.write_text("x" * (times + 1))
    assert times
"""
FAILS = "def test_fails() -> None:\n    assert False\n"
DIES = "import os, signal\n\n\ndef test_dies() -> None:\n    os.kill(os.getpid(), signal.SIGKILL)\n"
PASSES = "def test_passes() -> None:\n    pass\n"
BREAKS = """
from tests.second_look import PromiseBrokenError


def test_breaks() -> None:
    raise PromiseBrokenError("an acknowledged change is gone")
"""


def first_run(folder: Path, files: dict[str, str], *options: str) -> int:
    """A run of these tests in a folder of their own."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\n")
    for name, text in files.items():
        (folder / name).write_text(text)
    return run(folder, "pytest", *options).returncode


def run(folder: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python module in that folder."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        # Of the plugins only the one that spreads tests over processes: the others take seconds to import.
        env={"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "xdist.plugin"},
    )


def second_look(folder: Path) -> subprocess.CompletedProcess[str]:
    """The command, in that folder."""
    return run(folder, "tests.second_look")


@pytest.mark.parametrize("options", [[], ["-n", "2"]], ids=["one process", "two"])
def test_what_passes_by_itself_is_named(tmp_path: Path, options: list[str]) -> None:
    assert first_run(tmp_path, {"test_one.py": UNRELIABLE, "test_two.py": PASSES}, *options) == 1
    again = second_look(tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    for name in ("a", "b c"):
        assert (
            f"UNRELIABLE, failed once and passed {TIMES} times by itself; its failure is above: test_one.py"
            in again.stdout
        )
        assert f"test_one.py::test_now_and_then[{name}]" in again.stdout
        assert len((tmp_path / name).read_text()) == 1 + TIMES
    assert "test_passes" not in again.stdout


def test_what_fails_again_has_failed(tmp_path: Path) -> None:
    assert first_run(tmp_path, {"test_one.py": UNRELIABLE, "test_two.py": FAILS}) == 1
    again = second_look(tmp_path)
    assert again.returncode == 1
    assert "failed again" in again.stdout
    assert "UNRELIABLE" not in again.stdout


def test_a_file_that_cannot_be_read_has_failed(tmp_path: Path) -> None:
    assert first_run(tmp_path, {"test_one.py": "import nowhere_to_be_found\n", "test_two.py": PASSES}) != 0
    assert second_look(tmp_path).returncode != 0


@pytest.mark.parametrize("options", [[], ["-n", "2"]], ids=["one process", "two"])
def test_a_broken_promise_gets_no_second_look(tmp_path: Path, options: list[str]) -> None:
    assert first_run(tmp_path, {"test_one.py": BREAKS, "test_two.py": UNRELIABLE}, *options) == 1
    again = second_look(tmp_path)
    assert again.returncode == 1
    assert "no second look: a promise was broken: test_one.py::test_breaks" in again.stdout
    assert (tmp_path / "a").read_text() == "x"


def test_a_run_that_was_cut_off_gets_no_second_look_whatever_the_one_before_it_kept(tmp_path: Path) -> None:
    assert first_run(tmp_path, {"test_one.py": UNRELIABLE}) == 1
    assert first_run(tmp_path, {"test_one.py": DIES}) != 0
    again = second_look(tmp_path)
    assert again.returncode == 1
    assert "no second look: the run did not come to its end" in again.stdout


def test_a_process_of_tests_that_dies_leaves_who_knows_what_undone(tmp_path: Path) -> None:
    assert first_run(tmp_path, {"test_one.py": DIES, "test_two.py": PASSES}, "-n", "2") != 0
    again = second_look(tmp_path)
    assert again.returncode == 1
    assert "no second look: a process of tests died: test_one.py::test_dies" in again.stdout


def test_a_run_that_passed_gets_none_either(tmp_path: Path) -> None:
    assert first_run(tmp_path, {"test_two.py": PASSES}) == 0
    assert "no second look: no test failed" in second_look(tmp_path).stdout


@pytest.mark.parametrize(("many", "code"), [(MOST, 0), (MOST + 1, 1)])
def test_many_that_fail_have_a_cause(many: int, code: int) -> None:
    runs: list[Sequence[str]] = []
    said: list[str] = []

    def passes(tests: Sequence[str]) -> int:
        runs.append(tests)
        return 0

    failed = Failed([f"test_{number}" for number in range(many)])
    assert look(failed, passes, said.append) == code
    assert len(runs) == (0 if code else TIMES)


def test_what_fails_in_any_of_the_runs_has_failed() -> None:
    codes = [*[0] * (TIMES - 1), 1]
    said: list[str] = []
    assert look(Failed(["test_x"]), lambda _: codes.pop(0), said.append) == 1
    assert codes == []
