"""The main job, once, over both transports: what one publishes the other sees."""

import pytest

from tests.phone import MakePhone, pidf, token
from tests.running_set import RunningSet


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_what_is_published_is_seen(running_set: RunningSet, make_phone: MakePhone, transport: str) -> None:
    alice = await make_phone(running_set, token("alice"), transport)
    bob = await make_phone(running_set, transport=transport)
    _, first = await bob.subscribed(alice.aor)
    assert first.state == "active"
    assert b"<basic>closed</basic>" in first.body
    await alice.published(body=pidf(alice.aor, note="here"))
    second = await bob.next_notify()
    assert b"<note>here</note>" in second.body
