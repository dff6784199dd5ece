"""Documents that are meant to hurt: refused with a reason, or read, with work and size that follow from their length.

Work is counted, not timed: what Python calls, functions of the parser included (rows SEC-01, SEC-04, PUB-32, PUB-34).
"""

import sys
from types import FrameType
from typing import Self

import pytest

from tests.attacks import Attack, attacks
from vedette.events.package import Preferences, Publication
from vedette.events.registry import PACKAGES

ATTACKS = list(attacks())
ALICE = "sip:alice@example.com"


class Work:
    """Counts calls while it is entered."""

    def __init__(self) -> None:
        self.calls = 0

    def __enter__(self) -> Self:
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _count(self, _frame: FrameType, event: str, _argument: object) -> None:
        self.calls += event in {"call", "c_call"}


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_sec_01_sec_04_pub_32_pub_34_it_is_refused_with_a_reason_or_read(attack: Attack) -> None:
    package = PACKAGES[attack.event]
    publication = Publication(b"\x01" * 16, attack.media_type, attack.body)
    with Work() as work:
        reason = package.check(attack.media_type, attack.body)
        seen = [
            package.compose(ALICE, [publication], media_type, Preferences()).with_version(0)
            for media_type in package.notify_types
        ]
        if package.succession is not None:
            package.succession.merge(attack.body, attack.body)
            package.succession.remains(attack.body, attack.body)
            package.succession.single_call(attack.body)
            package.succession.is_provisional(attack.body)
    assert (reason or "").startswith(attack.reason)
    assert (reason is None) == (attack.reason == "")
    assert len(reason or "") < 100, "it quotes nothing of the body"
    assert work.calls < 2000 + 4 * len(attack.body)
    neutral = [
        package.compose(ALICE, [], media_type, Preferences()).with_version(0) for media_type in package.notify_types
    ]
    if reason is not None:
        assert seen == neutral, "what was stored before it was refused counts as not published"
    assert max(map(len, seen)) < 2000 + 3 * len(attack.body)
    assert b"root:" not in b"".join(seen)
