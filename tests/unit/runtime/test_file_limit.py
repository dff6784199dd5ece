"""A service takes as many sockets as the system lets it, whatever soft limit it was started with."""

import asyncio
import resource
import subprocess
import sys

SOFT = 100


async def say_limit(stop: asyncio.Event) -> None:
    sys.stdout.write(f"{resource.getrlimit(resource.RLIMIT_NOFILE)}\n")


def test_a_service_raises_its_soft_limit_of_files_to_the_hard_one() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert most != SOFT
    program = (
        f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({SOFT}, {most}))\n"
        f"from {__name__} import say_limit; from vedette.runtime.process import run_service; run_service(say_limit)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"({most}, {most})\n", "")
