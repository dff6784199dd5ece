"""The commands of docs/operate/, run on a set: what is in a block ```console is run, and its output compared.

A line `$ ...` is a command, what follows it is what it printed. Compared is the shape: numbers, times and ids differ
from run to run, and a list may have lines that the page does not show, but those of the page in their order. An id
that a page shows stands, in the commands after it, for the one that was printed in its place. A command that ends in
`&` goes on until the page ends; its first line is awaited.

`python -m tests.operate_pages FOLDER PAGE...` writes what the set on a data folder prints into the pages. There, ID
in a command is the last one of a publication or subscription that was printed.
"""

import asyncio
import os
import re
import shlex
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from typer.testing import CliRunner

from vedette_cli.main import app
from vedette_cli.supervisor.control import ask

PAGES = Path(__file__).parent.parent / "docs" / "operate"
SIP, API, DATA, HOST = "127.0.0.1:5060", "127.0.0.1:8080", "/var/lib/vedette", "vm"
"""What pages say for the addresses of the set, its folder and its machine."""

_ID = re.compile(r"vdt_[\w-]+|(?=[0-9a-f.-]*\d)[0-9a-f][0-9a-f.-]{11,}")
_RESOURCE = re.compile(r"\b(?:10\.)?[0-9a-f]{8}\.[0-9a-f]{32}\b")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(?:Z|[+-]\d\d:?\d\d)?")
_NUMBER = re.compile(r"(?:\d+d, )?\d+:\d\d:\d\d|\b(?:\d+(?:\.\d+)?[dhms])+\b|\d+(?:\.\d+)?")
_SHELL = set("|&;$<>(`")
_READS = {"list", "show", "explain", "status", "queue", "curl", "get", "doctor"}
PATIENCE = 60.0
"""Seconds; only a failure uses them up."""
ENDS = {0, 1, -signal.SIGINT}
"""How what goes on may end: by itself, since the server ended its subscription, while it was about to."""


@dataclass
class Command:
    """A command of a page, and the lines that the page says it prints."""

    line: int
    text: str
    printed: list[str] = field(default_factory=list)


def commands(page: str) -> list[Command]:
    """Those in the blocks of the page that are marked console, in order."""
    found: list[Command] = []
    inside = False
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith("```"):
            inside = line == "```console"
        elif inside and line.startswith("$ "):
            found.append(Command(number, line[2:]))
        elif inside and found and found[-1].text.endswith("\\"):
            found[-1].text = found[-1].text[:-1] + line.strip()
        elif inside:
            assert found, f"line {number}: output before a command"
            found[-1].printed.append(line)
    return found


def shape(line: str) -> str:
    """The line without what differs from run to run."""
    for pattern, word in ((_TIME, "TIME"), (_ID, "ID"), (_NUMBER, "N")):
        line = pattern.sub(word, line)
    return " ".join(line.split())


def missing(expected: list[str], printed: list[str], ids: dict[str, str]) -> str | None:
    """The first expected line whose shape does not come in turn, or None; `ids` learns what stands for what."""
    rest = iter(printed)
    for line in expected:
        wanted = shape(line)
        for candidate in rest:
            if shape(candidate) == wanted:
                ids.update(zip(_ID.findall(line), _ID.findall(candidate), strict=True))
                break
        else:
            return line
    return None


class Replay:
    """Runs a page's commands on the set of a data folder, in `place`, where .vedette is that folder."""

    def __init__(self, data: Path, place: Path) -> None:
        status = ask(data, {"command": "status"})
        self.sip = str(status["sip"])
        self.api = str(status["api"]).removeprefix("http://")
        self.ids: dict[str, str] = {}
        self._data = str(status.get("data", data))
        self._place = place
        self._going_on: list[asyncio.subprocess.Process] = []
        if not (place / ".vedette").exists():
            (place / ".vedette").symlink_to(data)

    def __call__(self, text: str) -> str:
        for page, real in (*self.ids.items(), (SIP, self.sip), (API, self.api)):
            text = text.replace(page, real)
        return text

    async def run(self, command: Command) -> list[str]:
        """What the command prints."""
        text = self(command.text)
        if re.match(r"vedette (watch|publish) ", text):
            words = text.split(" ", 2)
            text = f"{words[0]} {words[1]} --server {self.sip} {words[2]}"
        if text.endswith("&"):
            return [await self._start(text.removesuffix("&"))]
        if text.startswith("vedette ") and " watch " not in text and not _SHELL & set(text):
            ran = await asyncio.to_thread(CliRunner().invoke, app, shlex.split(text)[1:], prog_name="vedette")
            out = ran.output
        else:
            process = await self._process("bash", "-c", text)
            out = (await asyncio.wait_for(process.communicate(), PATIENCE))[0].decode()
        return self.as_on_pages(out).rstrip("\n").splitlines()

    def as_on_pages(self, text: str) -> str:
        """The text with the addresses that pages use, and without blanks at the ends of lines."""
        for real, page in ((self.sip, SIP), (self.api, API), (self._data, DATA)):
            text = text.replace(real, page)
        text = re.sub(rf"\b{re.escape(socket.gethostname())}\b", HOST, text)
        return "\n".join(line.rstrip() for line in text.splitlines())

    async def check(self, command: Command) -> None:
        """AssertionError where it prints something else than the page says; what only reads may take its time."""
        ends = asyncio.get_running_loop().time() + PATIENCE
        while True:
            printed = await self.run(command)
            gone = missing(command.printed, printed, self.ids)
            if gone is None:
                return
            told = f"line {command.line}: $ {command.text}\nprinted\n" + "\n".join(printed) + f"\nand not\n{gone}"
            assert _READS & set(command.text.split()[:3]), told
            assert asyncio.get_running_loop().time() < ends, told

    async def end(self) -> None:
        """End what goes on."""
        for process in self._going_on:
            with suppress(ProcessLookupError):  # a subscription that was ended for good ends its command
                process.send_signal(signal.SIGINT)
            told = (await asyncio.wait_for(process.communicate(), PATIENCE))[0].decode()
            assert "Traceback" not in told, told
            assert process.returncode in ENDS, f"{process.returncode}: {told}"
        self._going_on.clear()

    async def _start(self, text: str) -> str:
        process = await self._process(*shlex.split(text))
        self._going_on.append(process)
        assert process.stdout is not None
        return self.as_on_pages((await asyncio.wait_for(process.stdout.readline(), PATIENCE)).decode())

    async def _process(self, *words: str) -> asyncio.subprocess.Process:
        variables = {name: value for name, value in os.environ.items() if not name.startswith("VEDETTE_")}
        variables["PATH"] = f"{Path(sys.executable).parent}:{variables['PATH']}"
        return await asyncio.create_subprocess_exec(
            *words, cwd=self._place, env=variables, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )


@contextmanager
def standing_in(place: Path) -> Iterator[None]:
    """The working directory is `place`."""
    before = Path.cwd()
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir(before)


async def _record(data: Path, place: Path, page: Path) -> None:
    replay = Replay(data, place)
    starts = {command.line: command for command in commands(page.read_text())}
    written: list[str] = []
    last = ""
    skips = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if number in starts:
            command = starts[number]
            command.text = re.sub(r"\bID\b", last, command.text)
            printed = await replay.run(command)
            missing([shown for shown in command.printed if _ID.search(shown)], printed, replay.ids)
            for earlier, later in replay.ids.items():
                command.text = command.text.replace(earlier, later)
            written += [f"$ {command.text}", *printed]
            last = next((found[-1] for shown in reversed(printed) if (found := _RESOURCE.findall(shown))), last)
            skips = True
        else:
            skips = skips and not line.startswith("```")
            if not skips:
                written.append(line)
    await replay.end()
    page.write_text("\n".join(written) + "\n")


if __name__ == "__main__":
    folder = Path(sys.argv[1]).resolve()
    with standing_in(folder.parent):
        for name in sys.argv[2:]:
            asyncio.run(_record(folder, folder.parent, PAGES / f"{name}.md"))
