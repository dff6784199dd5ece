"""Programs of other people that tests run."""

import os
import shutil

import pytest


def required(program: str) -> str:
    """The path of a program; without it the test is skipped, or fails where everything has to run (VEDETTE_FULL)."""
    found = shutil.which(program)
    if found is not None:
        return found
    if os.environ.get("VEDETTE_FULL") == "1":
        pytest.fail(f"{program} is not installed, and VEDETTE_FULL=1 says that nothing may be skipped")
    pytest.skip(f"{program} is not installed (Debian has it; .ci/run installs it)")
