"""What live readers are told of requests: what changed, after it was committed, and only while somebody listens."""

import pytest

from presence_core.domain.publish import PublishCommand, PublishVerdict
from presence_core.domain.subscribe import SubscribeCommand, SubscribeVerdict
from presence_core.flows.handle_publish import PublishFlow
from presence_core.flows.handle_subscribe import SubscribeFlow
from presence_core.flows.request_flow import FlowLimits
from tests.integration.calls import ALICE, publish, subscribe
from tests.unit.notifier.test_live_events import Told as Listeners
from tests.unit.presence_core.test_announcements import POLICY, RECORD, Told, nothing_held, verdict


@pytest.mark.parametrize(
    ("word", "version", "what"),
    [
        ("created", 5, "created"),
        ("refreshed", None, "refreshed"),
        ("modified", 5, "modified"),
        ("removed", 5, "removed"),
        ("lingers", 5, "removed"),
        ("created", None, None),
        ("replayed", None, None),
        ("unmatched", None, None),
        ("withheld", None, None),
        ("too_many", None, None),
    ],
)
@pytest.mark.parametrize("wanted", [True, False])
async def test_what_became_of_a_publication_is_told(
    word: str, version: int | None, what: str | None, *, wanted: bool
) -> None:
    live = Listeners(wanted=wanted)

    async def apply(commands: list[PublishCommand]) -> list[PublishVerdict]:
        assert live.events == []
        return [verdict(word, version=version) for _ in commands]

    flow = PublishFlow(apply, Told(), POLICY, FlowLimits(), nothing_held, live)
    flow.handle_publish([publish()])
    await flow.drain()
    assert [event.what for event in live.events] == ([what] if what is not None and wanted else [])
    for event in live.events:
        assert (event.kind, event.presentity, event.event, event.time) == ("publication", ALICE, "presence", 1000.0)


@pytest.mark.parametrize(
    ("word", "what"),
    [
        ("created", "created"),
        ("refreshed", "refreshed"),
        ("fetched", "fetched"),
        ("ended", "removed"),
        ("replayed", None),
        ("unmatched", None),
    ],
)
async def test_what_became_of_a_subscription_is_told(word: str, what: str | None) -> None:
    live = Listeners()

    async def apply(commands: list[SubscribeCommand]) -> list[SubscribeVerdict]:
        record = RECORD if what is not None else None
        return [SubscribeVerdict(word, command.expires, record) for command in commands]

    flow = SubscribeFlow(apply, Told(), POLICY, FlowLimits(), live)
    flow.handle_subscribe([subscribe()])
    await flow.drain()
    assert [event.what for event in live.events] == ([] if what is None else [what])
