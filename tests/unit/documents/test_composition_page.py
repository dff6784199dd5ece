"""The examples of docs/composition.md are what is composed (rows CMP-01 to CMP-08, CMP-14)."""

import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from lxml import etree

from vedette.events.package import Preferences, Publication
from vedette.events.registry import PACKAGES

PAGE = Path(__file__).resolve().parents[3] / "docs" / "composition.md"
ALICE = "sip:alice@example.com"
_BLOCK = re.compile(
    r"^ *```\w+ (?P<event>\S+) (?P<kind>published|seen) ?(?P<scope>[0-9a-f]*)\n(?P<body>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass
class Example:
    """Publications, the oldest first, and what watchers see of them."""

    event: str
    publications: list[Publication] = field(default_factory=list)
    seen: str = ""


def examples() -> list[Example]:
    found: list[Example] = []
    for block in _BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        if not found or found[-1].seen or found[-1].event != block["event"]:
            found.append(Example(block["event"]))
        body = textwrap.dedent(block["body"])
        if block["kind"] == "seen":
            found[-1].seen = body
            continue
        media_type = PACKAGES[block["event"]].publish_types[0]
        found[-1].publications.append(
            Publication(bytes.fromhex(f"{block['scope']}ffffffff"), media_type, body.encode())
        )
    return found


EXAMPLES = examples()


def canonical(document: str) -> str:
    """The same for documents that differ in white space between elements only."""
    if not document.startswith("<"):
        return document.replace("\r\n", "\n")
    text = etree.canonicalize(document, strip_text=True)
    assert isinstance(text, str)
    return text


def composed(example: Example) -> str:
    package = PACKAGES[example.event]
    assert [package.check("", item.body) for item in example.publications] == [None] * len(example.publications)
    newest_first = example.publications[::-1]
    return package.compose(ALICE, newest_first, package.notify_types[0], Preferences()).with_version(0).decode()


def test_the_page_has_an_example_of_each_package_that_can_be_published() -> None:
    assert {example.event for example in EXAMPLES} == {p.name for p in PACKAGES.values() if p.publish_types}
    assert all(example.seen for example in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=[f"{n}-{example.event}" for n, example in enumerate(EXAMPLES)])
def test_cmp_01_cmp_04_cmp_05_cmp_06_cmp_08_cmp_14_what_the_page_shows_is_what_is_composed(example: Example) -> None:
    assert canonical(composed(example)) == canonical(example.seen)
