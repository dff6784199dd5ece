"""SIPp, a SIP client that nobody here has written: hundreds of whole lives of publications and subscriptions."""

import asyncio
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

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


@dataclass(frozen=True)
class Package:
    """What SIPp publishes of a package, and what it has to see before and after (regular expressions)."""

    event: str
    media_type: str
    body: str
    before: str
    after: str

    def fill_in(self, scenario: str) -> str:
        """The scenario with what is this package's own."""
        for name, text in {
            "EVENT": self.event,
            "TYPE": self.media_type,
            "BODY": self.body,
            "BEFORE": escape(self.before, {'"': "&quot;"}),
            "AFTER": escape(self.after, {'"': "&quot;"}),
        }.items():
            scenario = scenario.replace(f"@{name}@", text)
        return scenario


PRESENCE = Package(
    "presence",
    "application/pidf+xml",
    '<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:[run]-[call_number]@example.com">'
    '<tuple id="t1"><status><basic>open</basic></status><note>[run]-[call_number]</note></tuple></presence>',
    "<basic>closed</basic>",
    "<basic>open</basic>",
)
MESSAGE_SUMMARY = Package(
    "message-summary",
    "application/simple-message-summary",
    "Messages-Waiting: yes\n      Voice-Message: [call_number]/0",
    "Messages-Waiting: no",
    "Messages-Waiting: yes.+Voice-Message: [0-9]+/0",
)

DIALOG = Package(
    "dialog",
    "application/dialog-info+xml",
    '<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="0" state="full" '
    'entity="sip:[run]-[call_number]@example.com"><dialog id="d[call_number]" call-id="d[call_number]" '
    'direction="initiator"><state>early</state></dialog></dialog-info>',
    'version="0" state="full" entity="sip:[^"]+"/>',
    'version="1" state="full" .*<state>early</state>',
)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize(
    ("scenario", "package"),
    [("publish", PRESENCE), ("watch", PRESENCE), ("watch", MESSAGE_SUMMARY), ("watch", DIALOG)],
    ids=["publish", "watch", "watch message-summary", "watch dialog"],
)
async def test_hundreds_of_calls_of_sipp_end_well(
    running_set: RunningSet, tmp_path: Path, scenario: str, package: Package, transport: str
) -> None:
    script = tmp_path / "scenario.xml"
    script.write_text(package.fill_in((SCENARIOS / f"{scenario}.xml").read_text(encoding="utf-8")), encoding="utf-8")
    host, port = running_set.sip
    run = token(f"sipp-{transport}-")
    mode, kind = ("u1", socket.SOCK_DGRAM) if transport == "udp" else ("t1", socket.SOCK_STREAM)
    command = [
        required("sipp"), f"{host}:{port}", "-sf", str(script), "-t", mode,
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
        assert len(await publications(running_set, uri, package.event)) == left
        assert await subscriptions(running_set, uri) == []


def errors_in(folder: Path) -> str:
    """What SIPp has written about calls that failed."""
    return "".join(path.read_text(encoding="utf-8", errors="replace")[:4000] for path in folder.glob("*errors*"))
