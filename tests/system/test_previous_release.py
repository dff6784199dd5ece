"""An upgrade under load: the code of the last release runs on today's schema beside today's code, in every mixture.

A set begins as the last release on its own schema. The schema is brought to today's while it works; then there are an
old and a new process of each kind; then the old ones are told to end, and new ones take over what they had. No
request fails.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.folders import open_folder
from tests.releases import releases, unpack, why_not_there
from tests.running_set import UNHURRIED, RunningSet, start
from tests.system.load import loaded
from tests.vectors import ROOT
from tests.wait import until
from vedette_cli.supervisor.control import ask

CHOICE = Path(__file__).with_name("chosen_code")
PREVIOUS = releases()[-1]
KINDS = ("edge", "core", "notifier")

pytestmark = pytest.mark.skipif(bool(why_not_there(PREVIOUS)), reason=why_not_there(PREVIOUS) or "it is there")


@dataclass
class Mixture:
    """A set, and the choice of the code that its next process gets."""

    running: RunningSet
    chosen: Path
    old: str

    def choose(self, *, old: bool) -> None:
        """From now on processes start with the code of the last release, or with today's."""
        self.chosen.write_text(self.old if old else "", encoding="utf-8")

    async def are(self, expected: dict[str, list[bool]]) -> bool:
        """Whether all are ready, and old or new as expected."""
        rows = (await self.running.status())["processes"]
        return all(row["pid"] and row["ready"] for row in rows) and await self.is_old() == expected

    async def is_old(self) -> dict[str, list[bool]]:
        """For each kind, which of its processes run the code of the last release."""
        return {
            kind: [
                self.chosen.with_name(str(row["pid"])).read_text(encoding="utf-8") == self.old
                for row in await self.running.processes(kind)
                if row["pid"]
            ]
            for kind in KINDS
        }


@pytest.fixture
async def mixture(tmp_path: Path) -> AsyncIterator[Mixture]:
    """One of each kind, all of the last release, on the schema of that release."""
    with open_folder("release") as code, open_folder("mixture") as data:
        chosen = tmp_path / "chosen"
        old = "\n".join(map(str, unpack(PREVIOUS, code)))
        chosen.write_text(old, encoding="utf-8")
        # The release before knew no rules: everybody saw everybody.
        extra = {"PYTHONPATH": str(CHOICE), "CHOSEN_CODE": str(chosen), "VEDETTE_DEFAULT_RULE": "allow"}
        running = await start(data, ["--edges", "1", "--cores", "1", "--notifiers", "1"], UNHURRIED | extra)
        try:
            yield Mixture(running, chosen, old)
        finally:
            await running.stop()


async def test_the_last_release_and_todays_code_work_beside_each_other_on_todays_schema(mixture: Mixture) -> None:
    running = mixture.running
    assert running.output.count(f"  applied {PREVIOUS.schema:04d} pre {last_of_the_release()}") == 1
    async with loaded(running) as load:
        url = (await asyncio.to_thread(ask, running.data, {"command": "stores"}))["db_url"]
        await running.command("migrate", "--phase", "pre", "--database-url", url)
        await load.goes_on()
        assert await mixture.is_old() == each([True])

        mixture.choose(old=False)
        await running.scale(*(f"{kind}=2" for kind in KINDS))
        await running.all_ready()
        assert await mixture.is_old() == each([True, False])
        await load.goes_on(20)

        for kind in KINDS:
            await running.kill(kind, 0, signal.SIGTERM)
        await until(lambda: mixture.are(each([False, False])), "new processes are in the place of the old ones")
        await load.goes_on()

        await load.keeps_its_promises()
        assert {(response.status, response.retry_after) for response in load.history.responses} == {(200, None)}


def each(old: list[bool]) -> dict[str, list[bool]]:
    """The same processes of every kind."""
    return dict.fromkeys(KINDS, old)


def last_of_the_release() -> str:
    """The name of the last migration of the last release."""
    (path,) = (ROOT / "migrations").glob(f"{PREVIOUS.schema:04d}_*.sql")
    return path.stem.split("_", 2)[2]
