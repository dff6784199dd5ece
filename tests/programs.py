"""Programs of other people that tests run."""

import os
import shutil
from pathlib import Path

import pytest


def required(program: str) -> str:
    """The path of a program; without it the test is skipped, or fails where everything has to run (VEDETTE_FULL)."""
    found = shutil.which(program)
    if found is not None:
        return found
    if os.environ.get("VEDETTE_FULL") == "1":
        pytest.fail(f"{program} is not installed, and VEDETTE_FULL=1 says that nothing may be skipped")
    pytest.skip(f"{program} is not installed (Debian has it; .ci/run installs it)")


def required_folder(path: Path) -> Path:
    """The folder that .ci/run fills; without it the test is skipped, or fails where everything has to run."""
    if path.is_dir():
        return path
    if os.environ.get("VEDETTE_FULL") == "1":
        pytest.fail(f"{path} is not there, and VEDETTE_FULL=1 says that nothing may be skipped")
    pytest.skip(f"{path} is not there (.ci/run fills it)")
