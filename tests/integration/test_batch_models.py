"""The two batch calls against models in plain Python: whatever the mixture, answers and rows are the model's.

A model knows nothing of SQL, locks or batches: it takes one request after the other.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from presence_core.domain.policy import Policy
from tests.integration.calls import in_dialog, publish, subscribe
from tests.integration.replicas import POLICY, Answer, Connection, Core
from tests.phone import pidf, token
from vedette.identity import entity_tag, parse_entity_tag, parse_to_tag
from vedette.rpc.contract import PublishCall, SubscribeCall
from vedette.store.database import Database

T = TypeVar("T")

PRESENTITIES = 4
OPERATIONS = ("initial", "refresh", "modify", "same", "remove", "remove with body", "old tag", "foreign tag", "fault")
LIMITS = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.reuse, Phase.generate],  # on a real database shrinking takes minutes
)
STRICT = Policy(secret=POLICY.secret, min_expires=60)


class OnPostgres(RuleBasedStateMachine):
    """A machine with a loop, two replicas and a connection of its own, on presentities that nobody else has."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.databases = [Database(self.url, size=1, name=f"replica {number}") for number in range(2)]
        self.cores = [Core(database, STRICT) for database in self.databases]
        self.sql: Connection = self.run(asyncpg.connect(self.url))
        mark = token()
        self.uris = [f"sip:{mark}-{number}@example.com" for number in range(PRESENTITIES)]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.run(self.sql.close())
        for database in self.databases:
            self.run(database.close())
        self.loop.close()


@dataclass
class Row:
    """A publication as the model has it."""

    last: PublishCall
    sequence: int
    granted: int
    body: bytes
    version: int
    alive: bool = True


@dataclass
class Expected:
    """What the model answers."""

    verdict: str
    status: int
    etag: str = ""
    granted: int = 0


@dataclass
class PublishModel:
    """Event state of a few presentities (RFC 3903 section 6), one request at a time."""

    rows: dict[tuple[str, bytes], Row] = field(default_factory=dict)

    def judge(self, call: PublishCall, own_id: bytes) -> Expected:
        """`own_id`: the publication that the call makes if it is an initial one."""
        asked = int(call.expires or 0)
        named = parse_entity_tag(call.if_match[0]) if call.if_match else None
        publication, sequence = named or (own_id, None)
        row = self.rows.get((call.request_uri, publication))
        if row is None:
            if sequence is not None:
                return Expected("unmatched", 412)
            self.rows[call.request_uri, publication] = Row(call, 1, asked, call.body, 0)
            return Expected("created", 200, entity_tag(publication, 1), asked)
        if row.last is call:
            return Expected("replayed", 200, entity_tag(publication, row.sequence), row.granted)
        if sequence is None:
            return Expected("replayed", 200, entity_tag(publication, 1), asked)
        if not row.alive or sequence != row.sequence:
            return Expected("unmatched", 412)
        if 0 < asked < STRICT.min_expires:
            return Expected("withheld", 423)
        row.last, row.sequence, row.granted = call, row.sequence + 1, asked
        answer = Expected("refreshed", 200, entity_tag(publication, row.sequence), asked)
        if asked == 0:
            row.alive, row.body, answer.verdict = False, b"", "removed"
        elif call.body and call.body != row.body:
            row.body, answer.verdict = call.body, "modified"
        return answer

    def alive(self, uri: str) -> dict[bytes, Row]:
        return {id_: row for (owner, id_), row in self.rows.items() if owner == uri and row.alive}


class Publishing(OnPostgres):
    """Batches of PUBLISH with at most one for each presentity, by either replica, with anything in them."""

    def __init__(self) -> None:
        super().__init__()
        self.model = PublishModel()
        self.sent: dict[str, list[PublishCall]] = {uri: [] for uri in self.uris}
        self.newest_version = 0
        self.watched: set[str] = set()

    @initialize(number=st.integers(0, PRESENTITIES - 1))
    def somebody_watches(self, number: int) -> None:
        uri = self.uris[number]
        self.run(self.cores[0].subscribe_one(subscribe(uri)))
        self.run(self.sql.execute("DELETE FROM change_event"))
        self.watched.add(uri)

    def make(self, data: st.DataObject, uri: str) -> PublishCall:
        """A new request or a copy of any earlier one."""
        sent = self.sent[uri]
        if sent and data.draw(st.integers(0, 3), label="copy") == 0:
            return data.draw(st.sampled_from(sent), label="which")
        kind = data.draw(st.sampled_from(OPERATIONS), label="kind")
        note = f"{data.draw(st.integers(0, 2), label='body')}"
        body = pidf(uri, note=note)
        known = [(id_, row) for (owner, id_), row in self.model.rows.items() if owner == uri]
        if kind == "initial" or not known:
            call = publish(uri, expires=data.draw(st.sampled_from([60, 3600]), label="expires"), body=body)
        else:
            id_, row = data.draw(st.sampled_from(known), label="publication")
            tag = entity_tag(id_, row.sequence)
            if kind == "old tag":
                tag = entity_tag(id_, data.draw(st.integers(0, row.sequence + 1), label="number"))
            if kind == "foreign tag":
                uri = data.draw(st.sampled_from([other for other in self.uris if other != uri]), label="owner")
                foreign = [id_ for owner, id_ in self.model.rows if owner == uri] or [b"\0" * 16]
                tag = entity_tag(data.draw(st.sampled_from(foreign), label="id"), 1)
                return publish(known[0][1].last.request_uri, etag=tag)
            call = {
                "modify": publish(uri, etag=tag, body=body),
                "same": publish(uri, etag=tag, body=row.body or body),
                "remove": publish(uri, etag=tag, expires=0),
                "remove with body": publish(uri, etag=tag, expires=0, body=body),
                "fault": publish(uri, etag=tag, expires=30),
            }.get(kind) or publish(uri, etag=tag, expires=120)
        return call

    @rule(
        data=st.data(),
        numbers=st.lists(st.integers(0, PRESENTITIES - 1), min_size=1, unique=True),
        replica=st.integers(0, 1),
    )
    def batch(self, data: st.DataObject, numbers: list[int], replica: int) -> None:
        calls = [self.make(data, self.uris[number]) for number in numbers]
        answers = self.run(self.cores[replica].publish(*calls))
        for call, answer in zip(calls, answers, strict=True):
            self.sent[call.request_uri].append(call)
            own_id = (parse_entity_tag(answer.etag) or (b"",))[0] if answer.status == 200 else b""
            self.check(call, answer, self.model.judge(call, own_id), own_id)
        self.check_rows()

    def check(self, call: PublishCall, answer: Answer, expected: Expected, publication: bytes) -> None:
        uri = call.request_uri
        assert (answer.verdict, answer.status) == (expected.verdict, expected.status)
        if expected.status == 200:
            assert (answer.etag, answer.expires) == (expected.etag, expected.granted)
        if expected.verdict not in {"created", "modified", "removed"}:
            assert (answer.version, answer.watched) == (None, False)
            return
        assert answer.version is not None
        assert answer.version > self.newest_version
        self.model.rows[uri, publication].version = answer.version
        others = {id_: row.version for id_, row in self.model.alive(uri).items() if id_ != publication}
        assert dict(answer.others) == others
        assert answer.watched == (uri in self.watched)

    def check_rows(self) -> None:
        rows = self.run(self.sql.fetch("SELECT * FROM presentity WHERE presentity_uri = ANY ($1)", self.uris))
        assert {(row["presentity_uri"], row["publication_id"]) for row in rows} == self.model.rows.keys()
        for row in rows:
            model = self.model.rows[row["presentity_uri"], row["publication_id"]]
            assert (row["sequence"], row["body"], row["granted"], row["version"]) == (
                *(model.sequence, model.body, model.granted, model.version),
            )
            assert row["etag"] == entity_tag(row["publication_id"], row["sequence"])
        states = self.run(self.sql.fetch("SELECT * FROM presentity_state WHERE presentity_uri = ANY ($1)", self.uris))
        for state in states:
            assert state["version"] > 0
        newest = max((row.version for row in self.model.rows.values()), default=0)
        assert newest >= self.newest_version
        self.newest_version = newest
        told = self.run(self.sql.fetch("SELECT DISTINCT presentity_uri FROM change_event"))
        assert {row["presentity_uri"] for row in told} <= self.watched

    @precondition(lambda self: self.model.rows)
    @rule(data=st.data())
    def time_passes(self, data: st.DataObject) -> None:
        """The lifetime of one publication is over; nobody has swept it yet."""
        key = data.draw(st.sampled_from(list(self.model.rows)), label="publication")
        self.run(
            self.sql.execute(
                "UPDATE presentity SET expires = clock_timestamp() - interval '1 s' "
                "WHERE presentity_uri = $1 AND publication_id = $2",
                *key,
            )
        )
        self.model.rows[key].alive = False


@dataclass
class Dialog:
    """A dialog as the model has it."""

    first: SubscribeCall
    last: SubscribeCall
    to_tag: str
    cseq: int
    granted: int
    alive: bool = True


class Subscribing(OnPostgres):
    """Batches of SUBSCRIBE with at most one for each dialog, by either replica."""

    def __init__(self) -> None:
        super().__init__()
        self.dialogs: dict[str, Dialog] = {}
        """By Call-ID."""
        self.sent: dict[str, list[SubscribeCall]] = {}

    def make(self, data: st.DataObject, call_id: str) -> SubscribeCall:
        dialog = self.dialogs[call_id]
        if data.draw(st.integers(0, 3), label="copy") == 0:
            return data.draw(st.sampled_from(self.sent[call_id]), label="which")
        kind = data.draw(st.sampled_from(["refresh", "end", "old", "event", "brief", "tag"]), label="kind")
        cseq = dialog.cseq + data.draw(st.integers(1, 3), label="step")
        tag = dialog.to_tag
        match kind:
            case "end":
                return in_dialog(dialog.first, tag, cseq=cseq, expires=0)
            case "old":
                return in_dialog(dialog.first, tag, cseq=data.draw(st.integers(1, dialog.cseq), label="cseq"))
            case "event":
                return in_dialog(dialog.first, tag, cseq=cseq, event="presence;id=other")
            case "brief":
                return in_dialog(dialog.first, tag, cseq=cseq, expires=59)
            case "tag":
                return in_dialog(dialog.first, tag, cseq=cseq, from_tag="another")
        return in_dialog(dialog.first, tag, cseq=cseq, expires=data.draw(st.sampled_from([60, 900]), label="expires"))

    def judge(self, call: SubscribeCall, to_tag: str) -> Expected:
        """`to_tag`: of the dialog that the call makes if it is an initial one."""
        asked = int(call.expires or 0)
        dialog = self.dialogs.get(call.call_id)
        if dialog is None:
            self.dialogs[call.call_id] = Dialog(call, call, to_tag, call.cseq, asked, alive=asked > 0)
            return Expected("created" if asked else "fetched", 200, granted=asked)
        if call.from_tag != dialog.first.from_tag:
            return Expected("unmatched", 481)
        if call is dialog.last:
            return Expected("replayed", 200, granted=dialog.granted)
        if not call.to_tag:
            return Expected("replayed", 200, granted=asked)
        if not dialog.alive:
            return Expected("unmatched", 481)
        if call.event != dialog.first.event:
            return Expected("other_usage", 403)
        if call.cseq <= dialog.cseq:
            return Expected("out_of_order", 500)
        if 0 < asked < STRICT.min_expires:
            return Expected("withheld", 423)
        dialog.last, dialog.cseq, dialog.granted, dialog.alive = call, call.cseq, asked, asked > 0
        return Expected("refreshed" if asked else "ended", 200, granted=asked)

    @rule(
        data=st.data(),
        new=st.lists(st.tuples(st.integers(0, PRESENTITIES - 1), st.sampled_from([0, 60, 3600])), max_size=3),
        replica=st.integers(0, 1),
    )
    def batch(self, data: st.DataObject, new: list[tuple[int, int]], replica: int) -> None:
        calls = [subscribe(self.uris[number], expires=expires) for number, expires in new]
        if self.dialogs:
            some = st.lists(st.sampled_from(list(self.dialogs)), max_size=4, unique=True)
            calls += [self.make(data, call_id) for call_id in data.draw(some, label="dialogs")]
        if not calls:
            return
        for call, answer in zip(calls, self.run(self.cores[replica].subscribe(*calls)), strict=True):
            expected = self.judge(call, answer.to_tag)
            assert (answer.verdict, answer.status) == (expected.verdict, expected.status)
            if expected.status == 200:
                assert answer.expires == expected.granted
                assert answer.to_tag == self.dialogs[call.call_id].to_tag
                self.sent.setdefault(call.call_id, []).append(call)
            changed = expected.verdict in {"created", "fetched", "refreshed", "ended"}
            assert (answer.record is not None) == changed
        self.check_rows()

    def check_rows(self) -> None:
        rows = self.run(self.sql.fetch("SELECT * FROM active_watchers WHERE presentity_uri = ANY ($1)", self.uris))
        assert {row["callid"] for row in rows} == self.dialogs.keys()
        for row in rows:
            dialog = self.dialogs[row["callid"]]
            assert (row["to_tag"], row["remote_cseq"], row["granted"]) == (
                *(dialog.to_tag, dialog.cseq, dialog.granted),
            )
            assert parse_to_tag(row["to_tag"]) == (row["presentity_hash"], row["dialog_id"])
            if dialog.alive:
                assert (row["status"], row["ended"]) == (1, None)
        owed = self.run(self.sql.fetch("SELECT * FROM delivery WHERE presentity_uri = ANY ($1)", self.uris))
        status = {row["dialog_id"]: row["status"] for row in rows}
        assert {row["dialog_id"]: row["status"] for row in owed} == status

    @precondition(lambda self: self.dialogs)
    @rule(data=st.data())
    def time_passes(self, data: st.DataObject) -> None:
        """The lifetime of one dialog is over; nobody has swept it yet."""
        call_id = data.draw(st.sampled_from(list(self.dialogs)), label="dialog")
        self.run(
            self.sql.execute(
                "UPDATE active_watchers SET expires = clock_timestamp() - interval '1 s' WHERE callid = $1", call_id
            )
        )
        self.dialogs[call_id].alive = False


def test_pub_06_pub_07_pub_17_publish_batches_do_what_the_model_does(database_url: str) -> None:
    machine = type("PublishingHere", (Publishing,), {"url": database_url})
    run_state_machine_as_test(machine, settings=LIMITS)


def test_sub_11_sub_12_sub_15_subscribe_batches_do_what_the_model_does(database_url: str) -> None:
    machine = type("SubscribingHere", (Subscribing,), {"url": database_url})
    run_state_machine_as_test(machine, settings=LIMITS)
