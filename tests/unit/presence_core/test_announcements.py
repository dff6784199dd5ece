"""What cache and notifiers learn after a commit, and when (invariant 1; rows PUB-14, PUB-16)."""

from collections.abc import Sequence

import pytest

from presence_core.domain.policy import Policy
from presence_core.domain.publish import PublishCommand, PublishVerdict
from presence_core.domain.subscribe import SubscribeCommand, SubscribeVerdict
from presence_core.domain.succession import Held
from presence_core.flows.announcements import MANIFEST_SECONDS, dialog_entries, published_entries
from presence_core.flows.handle_publish import PublishFlow
from presence_core.flows.handle_subscribe import SubscribeFlow
from presence_core.flows.request_flow import FlowLimits
from tests.integration.calls import ALICE, FLOW, publish, subscribe
from tests.phone import pidf
from vedette.identity import presentity
from vedette.records import DialogRecord
from vedette.rpc.contract import Reply
from vedette.store.database import StoreUnavailableError, StoreUndecidedError
from vedette.store.hash_tables import (
    TOMBSTONE_SECONDS,
    Entry,
    dialog_field,
    manifest_field,
    publication_field,
    read_dialog,
    read_manifest,
    read_publication,
)

POLICY = Policy(secret=b"s" * 32)
PRESENTITY = presentity(ALICE, "presence")
ID, OTHER = b"\x01" * 16, b"\x02" * 16


def command(body: bytes | None = b"<presence/>") -> PublishCommand:
    return PublishCommand(
        presentity=PRESENTITY,
        key=ID,
        publication_id=ID,
        sequence=7,
        expires=600,
        content_type=None if body is None else "application/pidf+xml",
        body=body,
    )


def verdict(word: str, *, version: int | None = 5, watched: bool = False) -> PublishVerdict:
    return PublishVerdict(word, 8, 600, at=1000.0, version=version, watched=watched, others=((OTHER, 4),))


@pytest.mark.parametrize("word", ["created", "modified"])
def test_pub_01_and_pub_15_a_new_state_is_written_with_its_version_and_lifetime(word: str) -> None:
    publication, manifest = published_entries(command(), verdict(word))
    assert publication[:4] == (PRESENTITY.hash, publication_field(ALICE, "presence", ID), 8, 1600.0)
    record = read_publication(publication.payload)
    assert (record.publication_id, record.version, record.sequence, record.body) == (ID, 5, 8, b"<presence/>")
    assert (record.content_type, record.expires) == ("application/pidf+xml", 1600.0)
    assert manifest[:4] == (PRESENTITY.hash, manifest_field(ALICE, "presence"), 5, 1000.0 + MANIFEST_SECONDS)
    assert read_manifest(manifest.payload).publications == [(OTHER, 4), (ID, 5)]


def test_pub_16_a_removal_leaves_a_tombstone_and_a_manifest_without_it() -> None:
    publication, manifest = published_entries(command(None), verdict("removed"))
    field = publication_field(ALICE, "presence", ID)
    assert publication == Entry(PRESENTITY.hash, field, 8, 1000.0 + TOMBSTONE_SECONDS, b"")
    assert read_manifest(manifest.payload).publications == [(OTHER, 4)]


@pytest.mark.parametrize("word", ["refreshed", "replayed", "unmatched", "withheld"])
def test_pub_14_and_pub_41_what_changes_no_state_announces_nothing(word: str) -> None:
    assert published_entries(command(None), verdict(word, version=None)) == []


RECORD = DialogRecord(
    presentity_hash=PRESENTITY.hash,
    dialog_id=ID,
    revision=3,
    presentity_uri=ALICE,
    event="presence",
    event_id="",
    call_id="c",
    to_tag="t",
    from_tag="f",
    to_value="<sip:alice@example.com>",
    from_value="<sip:bob@example.net>",
    contact="sip:bob@192.0.2.7",
    record_route=["<sip:p;lr>"],
    local_contact="sip:presence@127.0.0.1",
    accept="application/pidf+xml",
    edge_instance="e",
    edge_address="127.0.0.1:1",
    flow=FLOW,
    expires=1600.0,
    reason="",
)


def test_sub_01_a_dialog_that_was_written_is_announced_at_its_revision() -> None:
    [entry] = dialog_entries(SubscribeVerdict("created", 600, RECORD))
    assert entry[:4] == (PRESENTITY.hash, dialog_field(ID), 3, 1600.0)
    assert read_dialog(entry.payload) == RECORD
    assert dialog_entries(SubscribeVerdict("replayed", 600)) == []


class Told:
    """An announcer that remembers."""

    def __init__(self) -> None:
        self.published: list[Entry] = []
        self.dialogs: list[Entry] = []
        self.wakes: list[bool] = []

    def announce(self, *, published: Sequence[Entry] = (), dialogs: Sequence[Entry] = (), wake: bool = False) -> None:
        self.published += published
        self.dialogs += dialogs
        self.wakes.append(wake)


async def nothing_held(_commands: list[PublishCommand]) -> list[Held]:
    """No publication of a package whose states follow from one another."""
    return []


def publish_flow(told: Told, *answers: PublishVerdict | Exception) -> PublishFlow:
    """A flow whose database gives the answers in turn, one for each request."""
    left = list(answers)

    async def apply(commands: list[PublishCommand]) -> list[PublishVerdict]:
        found: list[PublishVerdict] = []
        for _ in commands:
            answer = left.pop(0)
            if isinstance(answer, Exception):
                raise answer
            found.append(answer)
        return found

    return PublishFlow(apply, told, POLICY, FlowLimits(), nothing_held)


async def reply_to(flow: PublishFlow, body: bytes = b"") -> Reply:
    [answer] = flow.handle_publish([publish(body=body or pidf(ALICE))])
    return answer if isinstance(answer, Reply) else await answer


@pytest.mark.parametrize("watched", [True, False])
async def test_not_10_a_new_state_rings_the_bell_where_somebody_watches(*, watched: bool) -> None:
    told = Told()
    assert (await reply_to(publish_flow(told, verdict("created", watched=watched)))).status == 200
    assert (len(told.published), told.wakes) == (2, [watched])


async def test_pub_14_a_refresh_tells_nobody() -> None:
    told = Told()
    assert (await reply_to(publish_flow(told, verdict("refreshed", version=None)))).status == 200
    assert told.wakes == []


@pytest.mark.parametrize("fault", [StoreUnavailableError("x"), StoreUndecidedError("x")])
async def test_pub_20_what_was_not_surely_stored_is_not_announced(fault: Exception) -> None:
    told = Told()
    assert (await reply_to(publish_flow(told, fault))).status != 200
    assert told.wakes == []


async def test_uas_25_a_refused_publish_never_reaches_the_database() -> None:
    assert (await reply_to(publish_flow(Told()), b"<not-pidf/>")).status == 400


async def test_pub_19_one_presentitys_publishes_are_never_in_one_call() -> None:
    calls: list[int] = []

    async def apply(commands: list[PublishCommand]) -> list[PublishVerdict]:
        calls.append(len(commands))
        return [verdict("created") for _ in commands]

    flow = PublishFlow(apply, Told(), POLICY, FlowLimits(), nothing_held)
    answers = flow.handle_publish([publish(ALICE), publish(ALICE), publish("sip:bob@example.com")])
    assert all(not isinstance(answer, Reply) for answer in answers)
    await flow.drain()
    assert calls == [2, 1]


async def test_sub_02_every_subscribe_that_was_applied_rings_the_bell() -> None:
    told = Told()
    calls: list[int] = []

    async def apply(commands: list[SubscribeCommand]) -> list[SubscribeVerdict]:
        calls.append(len(commands))
        return [SubscribeVerdict("created", command.expires, RECORD) for command in commands]

    flow = SubscribeFlow(apply, told, POLICY, FlowLimits())
    answers = flow.handle_subscribe([subscribe(call_id="one"), subscribe(call_id="one"), subscribe(call_id="two")])
    await flow.drain()
    assert [answer if isinstance(answer, Reply) else answer.result().status for answer in answers] == [200] * 3
    assert calls == [2, 1]
    assert (len(told.dialogs), told.wakes) == (3, [True, True])


async def test_sub_15_a_subscribe_that_changed_nothing_rings_nothing() -> None:
    told = Told()

    async def apply(commands: list[SubscribeCommand]) -> list[SubscribeVerdict]:
        return [SubscribeVerdict("unmatched", 0) for _ in commands]

    flow = SubscribeFlow(apply, told, POLICY, FlowLimits())
    flow.handle_subscribe([subscribe()])
    await flow.drain()
    assert told.wakes == []
