"""A notifier from the claim to the wire, and phones that answer: what each watcher was sent, in order."""

import asyncio
from typing import Any, NamedTuple

import msgspec

from notifier.adapters.state_reader import StateReader
from notifier.domain.claims import Claim
from notifier.domain.outcome_policy import settle
from notifier.domain.views import Views
from notifier.flows.delivery import Delivery
from notifier.flows.judging import Judging
from tests.integration.calls import EDGE, EDGE_ADDRESS, subscribe
from tests.integration.replicas import OPEN, Answer, Core, DialogStore
from tests.phone import pidf
from vedette.documents.versioned import VersionedDocument
from vedette.identity import Presentity, presentity
from vedette.rpc.client import Peer, Peers
from vedette.rpc.contract import Hello, NotifyBatch, Outcome, SubscribeCall, Taken
from vedette.rpc.discovery import Discovery
from vedette.rpc.token import RpcToken
from vedette.rules.document import Unreadable
from vedette.rules.ruling import Defaults
from vedette.store.authorization import Rulebooks, Written, put_rules
from vedette.store.database import Database
from vedette.store.hash_tables import HashTable


class Sent(NamedTuple):
    """A NOTIFY."""

    state: str
    """Subscription-State without what remains of the time."""
    body: bytes
    cseq: int


class Edge(Peers):
    """The edge of all dialogs, and all phones: it takes every batch."""

    def __init__(self) -> None:
        hello = Hello("notifier", "", "", "", 0, "", 0.0, ready=True)
        super().__init__(Discovery("127.0.0.1:1"), token=RpcToken("t" * 32), who=lambda: hello)
        self.sent: dict[bytes, list[Sent]] = {}
        self.outcomes: list[Outcome] = []

    async def ask(self, peer: Peer) -> Hello:
        """Who it is."""
        return Hello("sip-edge", EDGE, EDGE_ADDRESS, "", 0, "", 1000.0, ready=True)

    async def call(self, peer: Peer, path: str, body: bytes, *, timeout: float, instance: str | None = None) -> bytes:
        """Take a batch."""
        batch = msgspec.msgpack.decode(body, type=NotifyBatch)
        for item in batch.items:
            document = None if item.document < 0 else batch.documents[item.document]
            text = b""
            if document is not None:
                text = VersionedDocument(document.body, document.version_at).with_version(item.version)
            state = ";".join(part for part in item.subscription_state.split(";") if not part.startswith("expires="))
            self.sent.setdefault(item.dialog_id, []).append(Sent(state, text, item.cseq))
            self.outcomes.append(Outcome(item.presentity_hash, item.dialog_id, item.cseq, 200, None, item.digest))
        return msgspec.msgpack.encode(Taken([]))


class Watching:
    """`deliver` what is owed; `sent` has what the dialog of each watcher got since it was asked last."""

    def __init__(
        self,
        core: Core,
        store: DialogStore,
        database: Database,
        published: HashTable,
        *,
        defaults: Defaults = OPEN,
        suppress_unchanged: bool = True,
    ) -> None:
        self.core = core
        self.store = store
        self.database = database
        self.edge = Edge()
        self.views = Views(1000)
        self.reader = StateReader(store, published, None, remember=100)
        self.judging = Judging(Rulebooks(database), self.reader, store, defaults)
        self.lost = False
        self.delivery = Delivery(
            store,
            self.reader,
            self.views,
            self.edge,
            self.judging,
            bell_heard=lambda: True,
            edge_gone=lambda _instance, _address: None,
            claims_lost=self._lose,
            suppress_unchanged=suppress_unchanged,
        )
        self.dialogs: dict[str, Answer] = {}

    def turn_clock(self, seconds: float) -> None:
        """From now on Postgres's time is that much later, as far as claims tell it."""
        claim = type(self.store).claim

        async def later(events: int, dialogs: int) -> list[Claim]:
            claims = await claim(self.store, events, dialogs)  # type: ignore[arg-type]
            return [item._replace(at=item.at + seconds) for item in claims]

        self.store.claim = later  # type: ignore[method-assign]

    def _lose(self) -> None:
        self.lost = True

    async def deliver(self) -> None:
        """Claim, judge, compose, send and settle until nothing is owed; every phone answers 200."""
        while await self.delivery._step():
            while self.delivery._dispatches:
                await asyncio.wait(self.delivery._dispatches)
            outcomes, self.edge.outcomes = self.edge.outcomes, []
            if outcomes:
                await self.store.apply([(outcome, settle(outcome.status, None)) for outcome in outcomes])
        assert not self.lost

    async def watch(self, name: str, call: SubscribeCall | None = None) -> Answer:
        """Somebody subscribes to Alice, and gets the NOTIFYs that follow."""
        answer = await self.core.subscribe_one(call or watch(name))
        if answer.record is not None:
            self.dialogs[name] = answer
        await self.deliver()
        return answer

    def sent(self, name: str) -> list[Sent]:
        """What the last dialog of that watcher was sent since this was asked last."""
        return self.edge.sent.pop(self.dialogs[name].dialog_id, [])

    def states(self, name: str) -> list[str]:
        """The same: the states alone, `+` where there was a body."""
        return [f"{item.state}{'+' if item.body else ''}" for item in self.sent(name)]

    async def put(self, document: bytes, of: Presentity, *, name: str = "index") -> Written:
        """New rules, and what follows from them."""
        written = await put_rules(self.database, of, document, name=name)
        assert not isinstance(written, Unreadable), str(written)
        await self.deliver()
        return written


def watch(name: str, **fields: Any) -> SubscribeCall:
    """Somebody of example.net subscribes to Alice."""
    return subscribe(from_uri=f"sip:{name}@example.net", from_value=f"<sip:{name}@example.net>", **fields)


ALICES = presentity("sip:alice@example.com", "presence")
"""Alice's presence."""

SHOW_ALL = (
    "<pr:provide-services><pr:all-services/></pr:provide-services><pr:provide-persons><pr:all-persons/>"
    "</pr:provide-persons><pr:provide-devices><pr:all-devices/></pr:provide-devices><pr:provide-all-attributes/>"
)


def rule(handling: str, *names: str, conditions: str = "", shows: str = SHOW_ALL, id_: str = "") -> str:
    """A rule for the watchers of these names; for everybody where there are none."""
    if names:
        ones = "".join(f'<one id="sip:{name}@example.net"/>' for name in names)
        conditions += f"<identity>{ones}</identity>"
    return (
        f'<rule id="{id_ or "-".join((handling, *names))}"><conditions>{conditions}</conditions>'
        f"<actions><pr:sub-handling>{handling}</pr:sub-handling></actions>"
        f"<transformations>{shows}</transformations></rule>"
    )


def ruleset(*rules: str) -> bytes:
    """A document."""
    return (
        '<ruleset xmlns="urn:ietf:params:xml:ns:common-policy" xmlns:pr="urn:ietf:params:xml:ns:pres-rules">'
        f"{''.join(rules)}</ruleset>"
    ).encode()


def with_sphere(sphere: str) -> bytes:
    """What Alice publishes: open, and a sphere."""
    body = pidf()
    person = (
        '<p:person xmlns:p="urn:ietf:params:xml:ns:pidf:data-model" id="p1" '
        f'xmlns:r="urn:ietf:params:xml:ns:pidf:rpid"><r:sphere><r:{sphere}/></r:sphere></p:person></presence>'
    )
    return body.replace(b"</presence>", person.encode())
