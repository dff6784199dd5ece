"""SIPp, a SIP client that nobody here has written: what it publishes and sees, and how it is run."""

import asyncio
import re
from dataclasses import dataclass, replace
from pathlib import Path
from xml.sax.saxutils import escape

from tests.ports import free_port
from tests.programs import required

SCENARIOS = Path(__file__).with_name("sipp")
PATIENCE = 60.0


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
            # A mailbox is watched by nobody else.
            "WATCHER": "[run]-[call_number]" if self.event == "message-summary" else "w[call_number]",
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
DIALOG_SLA = replace(DIALOG, event="dialog;sla")


async def run_sipp(
    server: tuple[str, int], folder: Path, scenario: str, package: Package, *, transport: str, run: str, calls: int
) -> None:
    """So many calls of a scenario at once, with `run` in the names of their users; AssertionError where one fails."""
    script = folder / "scenario.xml"
    script.write_text(package.fill_in((SCENARIOS / f"{scenario}.xml").read_text(encoding="utf-8")), encoding="utf-8")
    host, port = server
    command = [
        required("sipp"), f"[{host}]:{port}" if ":" in host else f"{host}:{port}", "-sf", str(script),
        "-t", "u1" if transport == "udp" else "t1", "-i", host, "-p", str(free_port()), "-ci", "127.0.0.1",
        "-key", "run", run, "-nd", "-nostdin", "-m", str(calls), "-r", str(max(1, calls // 2)), "-l", str(calls),
        "-recv_timeout", "15000", "-trace_err", "-error_file", str(folder / "errors"),
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=folder
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = out.decode(errors="replace")[-4000:] + _errors_in(folder)
    assert process.returncode == 0, said
    counted = dict(re.findall(r"(Successful call|Failed call) +\| +\d+ +\| +(\d+)", said))
    assert counted == {"Successful call": str(calls), "Failed call": "0"}, said


def _errors_in(folder: Path) -> str:
    """What SIPp has written about calls that failed."""
    return "".join(path.read_text(encoding="utf-8", errors="replace")[:4000] for path in folder.glob("*errors*"))
