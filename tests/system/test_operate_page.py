"""docs/operate/: the commands do what the pages say, and links lead somewhere."""

import re
from pathlib import Path

import pytest

from tests.operate_pages import PAGES, Replay, commands, missing, standing_in
from tests.running_set import RunningSet

ALL = sorted(page for page in PAGES.glob("*.md") if commands(page.read_text()))


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.stem)
async def test_what_a_page_says_is_what_happens(running_set: RunningSet, tmp_path: Path, page: Path) -> None:
    replay = Replay(running_set.data, tmp_path)
    with standing_in(tmp_path):
        try:
            for command in commands(page.read_text()):
                await replay.check(command)
        finally:
            await replay.end()


def test_every_page_is_in_the_index_and_every_link_leads_to_a_file() -> None:
    index = PAGES.parent / "operate.md"
    for page in (index, *PAGES.glob("*.md"), PAGES.parent.parent / "README.md"):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"
    linked = set(re.findall(r"\]\(operate/([a-z-]+)\.md\)", index.read_text()))
    assert linked == {page.stem for page in PAGES.glob("*.md")}


def test_every_alert_has_a_line_that_says_what_to_do() -> None:
    alerts = re.findall(r"- alert: (\w+)", (PAGES.parent.parent / "deploy" / "prometheus" / "alerts.yml").read_text())
    rows = [line for line in (PAGES / "alerts.md").read_text().splitlines() if line.startswith("| Vedette")]
    assert sorted(re.findall(r"Vedette\w+", " ".join(row.split("|")[1] for row in rows))) == sorted(alerts)


def test_a_line_that_does_not_come_is_found() -> None:
    ids: dict[str, str] = {}
    shown = ["ID  TO", "0123456789ab.cd  sip:bob", "3 rows"]
    assert missing(shown, ["ID   TO", "x", "ba9876543210.ff   sip:bob", "12 rows"], ids) is None
    assert ids == {"0123456789ab.cd": "ba9876543210.ff"}
    assert missing(shown, ["ID  TO", "3 rows", "ba9876543210.ff  sip:bob"], ids) == "3 rows"
    assert missing(["open"], ["closed"], ids) == "open"


def test_commands_are_those_of_console_blocks_with_their_output() -> None:
    page = "```\n$ no\n```\n```console\n$ one \\\n  two\nsaid\n$ three\n```\nmore\n"
    assert [(found.line, found.text, found.printed) for found in commands(page)] == [
        (5, "one two", ["said"]),
        (8, "three", []),
    ]
