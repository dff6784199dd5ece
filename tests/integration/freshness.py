"""What a NOTIFY may show: nothing older than what had been acknowledged before it was claimed, nothing invented.

Publications and dialogs carry their own history: a publication's note is its name and a number that rises with each
change, a dialog's Contact carries the number of its SUBSCRIBE. So what is read tells which change it stems from.
"""

import asyncio
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from notifier.adapters.postgres import NotifierStore
from notifier.adapters.state_reader import Key, StateReader
from notifier.domain.claims import Claim
from notifier.domain.outcome_policy import settle
from presence_core.flows.announcements import Announcer
from presence_core.flows.handle_publish import PublishFlow
from presence_core.flows.handle_subscribe import SubscribeFlow
from presence_core.flows.request_flow import FlowLimits
from tests.integration.calls import in_dialog, publish, subscribe
from tests.integration.replicas import Core
from tests.phone import pidf
from vedette.identity import presentity_hash
from vedette.records import DialogRecord
from vedette.rpc.contract import Outcome, PublishCall, Reply, SubscribeCall
from vedette.store.hash_tables import Entry, HashTable

GONE = math.inf
"""The number of a publication that was removed, after all its others."""
_NOTE = re.compile(rb"<note>(\S+) (\d+)</note>")
_CONTACT = re.compile(r"sip:(\w+)-(\d+)@")


@dataclass
class Track:
    """How far the history of a publication or a dialog has come."""

    name: str
    uri: str
    sent: float = 0
    acknowledged: float = 0
    """0: not yet there."""


@dataclass
class Publication(Track):
    """And how its publisher goes on."""

    etag: str = ""
    number: int = 0


@dataclass
class Subscription(Track):
    """And how its watcher goes on."""

    call: SubscribeCall | None = None
    to_tag: str = ""
    number: int = 0


class Acknowledged(NamedTuple):
    """What had been acknowledged at some moment: number by name."""

    publications: dict[str, float]
    subscriptions: dict[str, float]


class World:
    """One or more cores, and what their clients know."""

    def __init__(self, uris: Sequence[str], cores: Sequence[tuple[Core, Announcer]]) -> None:
        self.uris = list(uris)
        self.publications: list[Publication] = []
        self.subscriptions: list[Subscription] = []
        self.read = 0
        """NOTIFYs that were judged."""
        self.changes = 0
        """Changes that were acknowledged."""
        self._requests = 0
        self._flows = [
            (
                PublishFlow(core.store.publish, announcer, core.policy, FlowLimits(), core.store.held),
                SubscribeFlow(core.store.subscribe, announcer, core.policy, FlowLimits()),
            )
            for core, announcer in cores
        ]

    # writers

    def new_publication(self, uri: str) -> Publication:
        """One that is to be made by its first change."""
        made = Publication(f"p{len(self.publications)}", uri)
        self.publications.append(made)
        return made

    def new_subscription(self, uri: str) -> Subscription:
        """One that is to be made by its first SUBSCRIBE."""
        made = Subscription(f"w{len(self.subscriptions)}", uri)
        self.subscriptions.append(made)
        return made

    def _names(self) -> dict[str, Any]:
        """What names the next request, the same in each run: ids of rows and entries follow from it."""
        self._requests += 1
        return {
            name: f"{prefix}{self._requests}"
            for name, prefix in (("call_id", "call-"), ("from_tag", "from-"), ("client_branch", "z9hG4bK-"))
        }

    async def change(self, publication: Publication, core: int = 0) -> None:
        """A new document."""
        publication.number += 1
        publication.sent = publication.number
        body = pidf(publication.uri, note=f"{publication.name} {publication.number}")
        reply = await self._publish(
            publish(publication.uri, etag=publication.etag or None, body=body, **self._names()), core
        )
        publication.etag = dict(reply.headers)["SIP-ETag"]
        publication.acknowledged = publication.number

    async def refresh(self, publication: Publication, core: int = 0) -> None:
        """A new tag and nothing else."""
        reply = await self._publish(publish(publication.uri, etag=publication.etag, **self._names()), core)
        publication.etag = dict(reply.headers)["SIP-ETag"]

    async def remove(self, publication: Publication, core: int = 0) -> None:
        """The end of a publication."""
        publication.sent = GONE
        await self._publish(publish(publication.uri, etag=publication.etag, expires=0, **self._names()), core)
        publication.acknowledged = GONE

    async def subscribe(self, subscription: Subscription, core: int = 0, expires: int = 3600) -> None:
        """The first SUBSCRIBE, or another one from another Contact."""
        subscription.number += 1
        subscription.sent = subscription.number
        contacts = [f"<sip:{subscription.name}-{subscription.number}@192.0.2.7:5060>"]
        if subscription.call is None:
            call = subscription.call = subscribe(subscription.uri, contacts=contacts, **self._names())
        else:
            call = in_dialog(
                subscription.call,
                subscription.to_tag,
                cseq=subscription.number,
                expires=expires,
                contacts=contacts,
                client_branch=self._names()["client_branch"],
            )
        (answer,) = self._flows[core][1].handle_subscribe([call])
        reply = await settled(answer)
        subscription.to_tag = reply.to_tag
        subscription.acknowledged = subscription.number
        self.changes += 1

    async def _publish(self, call: PublishCall, core: int) -> Reply:
        (answer,) = self._flows[core][0].handle_publish([call])
        reply = await settled(answer)
        self.changes += 1
        return reply

    # readers

    def acknowledged(self) -> Acknowledged:
        """As of now."""
        return Acknowledged(
            {publication.name: publication.acknowledged for publication in self.publications},
            {subscription.name: subscription.acknowledged for subscription in self.subscriptions},
        )

    def judge(self, before: Acknowledged, claim: Claim, record: DialogRecord, body: Iterable[bytes]) -> list[str]:
        """What is wrong with a NOTIFY that was claimed after `before`; judged at once after it was read."""
        self.read += 1
        wrong: list[str] = []
        shown = {name.decode(): int(number) for name, number in _NOTE.findall(b"".join(body))}
        for publication in self.publications:
            if publication.uri != claim.presentity_uri:
                continue
            least = before.publications.get(publication.name, 0)
            number = shown.pop(publication.name, None)
            if number is None:
                # It is rightly missing before it was acknowledged, and once its removal was sent.
                if 0 < least < GONE and publication.sent < GONE:
                    wrong.append(f"{publication.name} {least} is missing")
            elif number < least or number > publication.sent:
                wrong.append(f"{publication.name} is {number}: not from {least} to {publication.sent}")
        wrong += [f"{name} is not of {claim.presentity_uri}" for name in shown]
        named = _CONTACT.match(record.contact)
        assert named is not None
        name, at = named[1], int(named[2])
        (subscription,) = [item for item in self.subscriptions if item.name == name]
        least = before.subscriptions.get(name, 0)
        if not least <= at <= subscription.sent:
            wrong.append(f"dialog {name} is {at}: not from {least} to {subscription.sent}")
        return wrong


@dataclass
class Reader:
    """One notifier: it claims, and reads at once or later."""

    world: World
    store: NotifierStore
    reader: StateReader
    pocket: list[tuple[Acknowledged, list[Claim]]] = field(default_factory=list)

    async def claim(self) -> int:
        """Claim what is owed and put it into the pocket; how many NOTIFYs."""
        before = self.world.acknowledged()
        claims = sorted(await self.store.claim(100, 100), key=lambda claim: claim.dialog_id)
        if claims:
            self.pocket.append((before, claims))
        return len(claims)

    async def notify(self) -> list[str]:
        """Read for the oldest claims in the pocket as delivery does; what is wrong with it. Its watchers take it."""
        if not self.pocket:
            return []
        before, claims = self.pocket.pop(0)
        dialogs = await self.reader.dialogs(claims)
        keys: set[tuple[Key, int]] = {((c.presentity_hash, c.presentity_uri, c.event), c.version) for c in claims}
        states = await self.reader.states(sorted(keys))
        wrong: list[str] = []
        for claim in claims:
            record = dialogs[claim.dialog_id]
            publications = states[
                (claim.presentity_hash, claim.presentity_uri, claim.event), claim.version
            ].publications
            wrong += self.world.judge(before, claim, record, (publication.body for publication in publications))
        outcomes = [(Outcome(c.presentity_hash, c.dialog_id, c.cseq, 200), settle(200, None)) for c in claims]
        await self.store.apply(outcomes)
        return wrong


class LateTable(HashTable):
    """A table whose writes lie on the way until somebody delivers them, in any order, again, or never."""

    def __init__(self, table: HashTable) -> None:
        super().__init__(table._link, table._name, table._mask.bit_length())
        self.on_the_way: list[Entry] = []
        self.delivered: list[Entry] = []

    async def put(self, entries: Iterable[Entry]) -> None:
        """Take them on their way."""
        self.on_the_way += sorted(entries)

    async def deliver(self, index: int) -> None:
        """Write the one at that place."""
        entry = self.on_the_way.pop(index)
        self.delivered.append(entry)
        await super().put([entry])

    async def deliver_again(self, index: int) -> None:
        """Write one that was written before."""
        await super().put([self.delivered[index]])


@dataclass
class LateAnnouncer:
    """Hands a core's entries to the tables at once, whatever becomes of them there."""

    published: LateTable
    dialogs: LateTable

    def announce(self, *, published: Sequence[Entry] = (), dialogs: Sequence[Entry] = (), wake: bool = False) -> None:
        """Notifiers are not waited for: the schedule tells them when to claim."""
        del wake
        self.published.on_the_way += published
        self.dialogs.on_the_way += dialogs


async def settled(answer: "Reply | asyncio.Future[Reply]") -> Reply:
    """The reply, which is 200."""
    reply = answer if isinstance(answer, Reply) else await answer
    assert reply.status == 200, reply
    return reply


def uris(count: int) -> list[str]:
    """Presentities in one bucket of a table of two: they meet in every call."""
    found = [f"sip:u{number}@example.com" for number in range(100)]
    return [uri for uri in found if presentity_hash(uri) & 1 == 0][:count]
