"""Documents that are meant to hurt, published to a running set: the publisher is told why, and others go on.

Rows SEC-01, PUB-32, PUB-34; each is also read in tests/unit/documents/test_attacks.py, where the work is counted.
"""

import asyncio
import itertools

import pytest

from tests.attacks import attacks
from tests.conformance.observed import publications
from tests.phone import MakePhone, Message, pidf, token
from tests.running_set import RunningSet

BY_EVENT = {event: list(found) for event, found in itertools.groupby(attacks(), key=lambda attack: attack.event)}


@pytest.mark.parametrize("event", BY_EVENT)
async def test_sec_01_pub_32_pub_34_who_publishes_an_attack_is_told_what_is_wrong_with_it(
    running_set: RunningSet, make_phone: MakePhone, event: str
) -> None:
    phone, witness = await make_phone(running_set, transport="tcp"), await make_phone(running_set)
    kept = await witness.published(body=pidf(witness.aor, note="as it was"))
    found = BY_EVENT[event]
    line = {attack.name: f"sip:{token('a')}@example.com" for attack in found}

    async def throw(number: int) -> Message:
        attack = found[number]
        request = phone.publish(line[attack.name], event=event, content_type=attack.media_type, body=attack.body)
        return await phone.request(request)

    answers = await asyncio.gather(*map(throw, range(len(found))))
    for attack, answer in zip(found, answers, strict=True):
        status, reason = answer.start.split(" ", 2)[1:]
        assert (attack.name, status) == (attack.name, "400" if attack.reason else "200")
        assert attack.reason in reason
        assert len(reason) < 120
    stored = [attack.name for attack in found if await publications(running_set, line[attack.name], event)]
    assert stored == [attack.name for attack in found if not attack.reason]
    assert [item["etag"] for item in await publications(running_set, witness.aor)] == [kept]
