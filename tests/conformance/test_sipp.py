"""SIPp, a SIP client that nobody here has written: hundreds of whole lives of publications and subscriptions."""

import asyncio
import re
import socket
from pathlib import Path

import pytest

from tests.conformance.observed import publications, subscriptions
from tests.phone import token
from tests.programs import required
from tests.running_set import RunningSet

SCENARIOS = Path(__file__).with_name("sipp")
CALLS = 300
RATE = 150
PATIENCE = 60.0


def free_port(host: str, kind: socket.SocketKind) -> int:
    """A port that nobody has."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("scenario", ["publish", "watch"])
async def test_hundreds_of_calls_of_sipp_end_well(
    running_set: RunningSet, tmp_path: Path, scenario: str, transport: str
) -> None:
    host, port = running_set.sip
    run = token(f"sipp-{transport}-")
    mode, kind = ("u1", socket.SOCK_DGRAM) if transport == "udp" else ("t1", socket.SOCK_STREAM)
    command = [
        required("sipp"), f"{host}:{port}", "-sf", str(SCENARIOS / f"{scenario}.xml"), "-t", mode,
        "-i", host, "-p", str(free_port(host, kind)), "-ci", host, "-key", "run", run, "-nd", "-nostdin",
        "-m", str(CALLS), "-r", str(RATE), "-l", str(CALLS), "-recv_timeout", "15000", "-trace_err",
        "-error_file", str(tmp_path / "errors"),
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = out.decode(errors="replace")[-4000:] + errors_in(tmp_path)
    assert process.returncode == 0, said
    counted = dict(re.findall(r"(Successful call|Failed call) +\| +\d+ +\| +(\d+)", said))
    assert counted == {"Successful call": str(CALLS), "Failed call": "0"}, said
    left = 0 if scenario == "publish" else 1
    for number in (1, CALLS):
        uri = f"sip:{run}-{number}@example.com"
        assert len(await publications(running_set, uri)) == left
        assert await subscriptions(running_set, uri) == []


def errors_in(folder: Path) -> str:
    """What SIPp has written about calls that failed."""
    return "".join(path.read_text(encoding="utf-8", errors="replace")[:4000] for path in folder.glob("*errors*"))
