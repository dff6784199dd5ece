"""A short round of `make fuzz` against the shared set; its seed is printed where it fails (MSG-53, SEC-09)."""

import json
import random
import secrets

import pytest

from tests.fuzz.campaign import Source, attack, leads_away
from tests.running_set import RunningSet


async def test_msg_53_sec_09_a_short_campaign_leaves_the_set_as_it_was(
    running_set: RunningSet, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = secrets.randbelow(2**32)
    report = await attack(running_set, seed, print, datagrams=2000, count=5)
    with capsys.disabled():
        print(f"\nfuzz: seed {seed}, {report.datagrams} datagrams, {sum(report.connections.values())} connections")  # noqa: T201
    assert report.failures == [], f"python -m tests.fuzz --seed {seed}\n{report.as_text()}"
    assert json.loads(json.dumps(report.as_dict()))["answers"] == dict(report.answers)
    assert report.answers["400"] > 100
    assert report.answers["200"] > 20


def test_the_same_seed_makes_the_same_messages() -> None:
    assert [Source(random.Random(7)).message() for _ in range(20)] == [
        Source(random.Random(7)).message() for _ in range(20)
    ]


@pytest.mark.parametrize(
    ("contact", "away"),
    [
        ("<sip:a@127.0.0.1:9>", False),
        ("<sip:a@[::1]>", False),
        ("<sip:a@x.invalid>", False),
        ("nonsense", False),
        ("<sip:a@127.0.0.1;maddr=192.0.2.1>", True),
        ("<sip:a@192.0.2.1>", True),
        ("<sip:a@example.com>", True),
    ],
)
def test_nobody_else_is_notified_because_of_a_campaign(contact: str, away: bool) -> None:  # noqa: FBT001
    from tests.fuzz.seeds import message

    assert leads_away(message("SUBSCRIBE", f"Contact: {contact}", branch="b")) is away
    routed = message("SUBSCRIBE", "Record-Route: <sip:192.0.2.1;lr>", "Contact: <sip:a@127.0.0.1>", branch="b")
    assert leads_away(routed)
