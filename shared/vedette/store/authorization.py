"""Rules and decisions about watchers in Postgres: reading them, and changing them under the presentity's lock.

Whoever changes them raises the version of the presentity, so every dialog owes a NOTIFY; whoever composes that one
judges its watcher again (`claim_notifies_v2`). Once a change is acknowledged nobody gets a newer state by old rules.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import asyncpg

from vedette.identity import Presentity
from vedette.rules.document import RuleSet, Unreadable, read_rules, together
from vedette.rules.packages import auids_of
from vedette.rules.permissions import Handling
from vedette.rules.ruling import ACTIVE, NO_RULES, PENDING, POLITE, REJECTED, ByHand, Rulebook, asks_sphere
from vedette.sip.uri import split_aor

PRES_RULES = 2
"""`doc_type` of rules, as OpenSIPS and Kamailio have it."""
DEFAULT_NAME = "index"
_LINES = ("dialog", "dialog;sla")

_VERSIONS = """
SELECT r.ordinal, a.version
FROM unnest($1::int4[], $2::text[], $3::text[]) WITH ORDINALITY AS r (hash, uri, event, ordinal)
JOIN watcher_rules AS a ON a.presentity_hash = r.hash AND a.presentity_uri = r.uri AND a.event = r.event
"""
_READ = """
SELECT r.ordinal, a.version,
    ARRAY(
        SELECT x.doc FROM xcap AS x
        WHERE x.presentity_hash = r.hash AND x.presentity_uri = r.uri AND x.event = r.event
        ORDER BY x.doc_uri
    ) AS documents,
    ARRAY(
        SELECT ARRAY[k.watcher_username, k.watcher_domain, k.status::text, k.reason] FROM watchers AS k
        WHERE k.presentity_hash = r.hash AND k.presentity_uri = r.uri AND k.event = r.event AND k.by_hand
    ) AS by_hand
FROM unnest($1::int4[], $2::text[], $3::text[]) WITH ORDINALITY AS r (hash, uri, event, ordinal)
JOIN watcher_rules AS a ON a.presentity_hash = r.hash AND a.presentity_uri = r.uri AND a.event = r.event
"""
_WRITE = """
SELECT r.event, w.verdict, w.etag
FROM unnest($3::text[]) WITH ORDINALITY AS r (event, ordinal)
CROSS JOIN LATERAL write_rules_v1($1, $2, r.event, $4, $5, $6, $7, $8, $9, $10, $11) AS w
ORDER BY r.ordinal
"""
"""One statement for all events that share the document: it is in force for each of them or for none."""
_DOCUMENTS = """
SELECT x.event, x.doc_uri, x.doc, x.etag, x.changed
FROM xcap AS x
WHERE x.presentity_hash = $1 AND x.presentity_uri = $2 AND ($3::text IS NULL OR x.event = $3)
ORDER BY x.event, x.doc_uri
"""
_BY_HAND = "SELECT decide_by_hand_v1($1, $2, $3, $4, $5, $6, $7) AS changed"
_DECISIONS = """
SELECT k.event, k.watcher_username, k.watcher_domain, k.status, k.reason, k.inserted_time, k.by_hand
FROM watchers AS k
WHERE k.presentity_hash = $1 AND k.presentity_uri = $2 AND ($3::text IS NULL OR k.event = $3)
    AND (NOT $4 OR k.by_hand)
ORDER BY k.event, k.inserted_time, k.watcher_domain, k.watcher_username
LIMIT $5
"""
_DUE = """
WITH held AS MATERIALIZED (
    SELECT a.presentity_hash, a.presentity_uri, a.event, k.due
    FROM unnest($1::int4[], $2::text[], $3::text[], $4::int8[], $5::float8[])
        AS r (presentity_hash, presentity_uri, event, version, due)
    CROSS JOIN LATERAL (VALUES (to_timestamp(r.due))) AS k (due)
    JOIN watcher_rules AS a USING (presentity_hash, presentity_uri, event)
    WHERE a.version = r.version AND (a.due IS NULL OR a.due > k.due)
    ORDER BY a.presentity_hash, a.presentity_uri, a.event
    FOR UPDATE OF a
)
UPDATE watcher_rules AS a SET due = h.due
FROM held AS h
WHERE a.presentity_hash = h.presentity_hash AND a.presentity_uri = h.presentity_uri AND a.event = h.event
"""


class Reading(Protocol):
    """A pool or a connection."""

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows of one statement."""


# reading


async def read_rulebooks(database: Reading, presentities: Sequence[Presentity]) -> list[Rulebook]:
    """What is said about the watchers of each presentity now; NO_RULES where nothing is. Raises StoreError."""
    books = [NO_RULES] * len(presentities)
    for ordinal, version, documents, by_hand in await database.fetch(_READ, *_columns(presentities)):
        books[ordinal - 1] = Rulebook(
            version,
            together([read_rules(document) for document in documents]),
            {(user, domain): ByHand(int(status), reason) for user, domain, status, reason in by_hand},
        )
    return books


async def rule_versions(database: Reading, presentities: Sequence[Presentity]) -> list[int]:
    """The version of what is said about the watchers of each presentity now; 0: nothing. Raises StoreError."""
    versions = [0] * len(presentities)
    for ordinal, version in await database.fetch(_VERSIONS, *_columns(presentities)):
        versions[ordinal - 1] = version
    return versions


class Rulebooks:
    """The rulebooks of late; each is good for its version."""

    def __init__(self, database: Reading, limit: int = 10_000) -> None:
        self._database = database
        self._limit = limit
        self._books: OrderedDict[Presentity, Rulebook] = OrderedDict()

    def known(self, presentity: Presentity) -> Rulebook:
        """What is known of it, which may be old: NO_RULES where nothing is."""
        return self._books.get(presentity, NO_RULES)

    async def load(self, presentities: Iterable[Presentity]) -> dict[Presentity, Rulebook]:
        """What is said now, which is known from here on. Raises StoreError."""
        wanted = list(dict.fromkeys(presentities))
        if not wanted:
            return {}
        found = dict(zip(wanted, await read_rulebooks(self._database, wanted), strict=True))
        for presentity, book in found.items():
            self._books.pop(presentity, None)
            if book is not NO_RULES:
                self._books[presentity] = book
        while len(self._books) > self._limit:
            self._books.popitem(last=False)
        return found

    async def at(self, versions: Sequence[tuple[Presentity, int]]) -> dict[Presentity, Rulebook]:
        """The rulebooks of these versions, or newer ones. Raises StoreError."""
        found = {presentity: self.known(presentity) for presentity, _ in versions}
        old = [presentity for presentity, version in versions if found[presentity].version != version]
        return found | await self.load(old)

    async def current(self, presentities: Iterable[Presentity]) -> None:
        """Know what is said now. Raises StoreError."""
        wanted = list(dict.fromkeys(presentities))
        if wanted:
            await self.at(list(zip(wanted, await rule_versions(self._database, wanted), strict=True)))

    async def note_due(self, moments: Sequence[tuple[Presentity, int, float]]) -> None:
        """Have the watchers of presentities judged again at a moment (seconds since the epoch).

        Nothing comes of it where the rules do not have that version any more. Raises StoreError.
        """
        await self._database.fetch(
            _DUE,
            *_columns([presentity for presentity, _, _ in moments]),
            [version for _, version, _ in moments],
            [moment for _, _, moment in moments],
        )


# documents


class Document(NamedTuple):
    """A document with rules."""

    event: str
    doc_uri: str
    octets: bytes
    etag: str
    changed: float
    """Seconds since the epoch."""

    @property
    def name(self) -> str:
        """The last part of its address."""
        return self.doc_uri.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a document."""

    verdict: Literal["created", "replaced", "removed", "absent", "unmatched"]
    """`absent`: there was nothing to remove; `unmatched`: it has another entity tag than was named."""
    etag: str | None
    """The tag that it has now, None where there is no document."""


def document_uri(presentity: Presentity, name: str = DEFAULT_NAME) -> str:
    """Where a document is, as XCAP would have it (RFC 4825 section 6): application, user, name."""
    return f"{auids_of(presentity.event)[0]}/users/{presentity.uri}/{name}"


async def put_rules(
    database: Reading, presentity: Presentity, octets: bytes, *, name: str = DEFAULT_NAME, if_match: str | None = None
) -> Written | Unreadable:
    """Store a document; Unreadable, and nothing is stored, where it cannot be used.

    `if_match`: the entity tag that the document has to have now; "" if it must not exist; None: whatever. All who
    watch are judged by the new rules when this returns. Raises StoreError (or asyncpg's errors, from a connection).
    """
    rules = read_rules(octets)
    if isinstance(rules, Unreadable):
        return rules
    return await _write(database, presentity, name, octets, rules, if_match)


async def delete_rules(
    database: Reading, presentity: Presentity, *, name: str = DEFAULT_NAME, if_match: str | None = None
) -> Written:
    """Remove a document; `if_match` and errors as for `put_rules`."""
    return await _write(database, presentity, name, None, None, if_match)


async def _write(
    database: Reading,
    presentity: Presentity,
    name: str,
    octets: bytes | None,
    rules: RuleSet | None,
    if_match: str | None,
) -> Written:
    user, domain = split_aor(presentity.uri)
    rows = await database.fetch(
        _WRITE,
        presentity.hash,
        presentity.uri,
        sorted(one.event for one in sharing_rules(presentity)),  # the order in which all lock
        user,
        domain,
        document_uri(presentity, name),
        PRES_RULES,
        octets,
        None if octets is None else hashlib.blake2b(octets, digest_size=12).hexdigest(),
        rules is not None and asks_sphere(rules),
        if_match,
    )
    return next(Written(row["verdict"], row["etag"]) for row in rows if row["event"] == presentity.event)


def sharing_rules(presentity: Presentity) -> list[Presentity]:
    """The presentity, and the others that have its rules: a line and what is shared of it."""
    others = [event for event in _LINES if presentity.event in _LINES and event != presentity.event]
    return [presentity, *(Presentity(presentity.hash, presentity.uri, event) for event in others)]


async def documents(database: Reading, presentity_hash: int, uri: str, event: str | None = None) -> list[Document]:
    """The documents of a presentity, for one event or for all. Errors as for `put_rules`."""
    rows = await database.fetch(_DOCUMENTS, presentity_hash, uri, event)
    return [
        Document(row["event"], row["doc_uri"], row["doc"], row["etag"], row["changed"].timestamp()) for row in rows
    ]


# decisions


class DecisionRow(NamedTuple):
    """A row of `watchers`."""

    event: str
    watcher: tuple[str, str]
    """User and domain."""
    status: int
    reason: str
    at: float
    """Seconds since the epoch."""
    by_hand: bool


_HANDLINGS = {
    Handling.ALLOW: ByHand(ACTIVE),
    Handling.POLITE_BLOCK: ByHand(ACTIVE, POLITE),
    Handling.CONFIRM: ByHand(PENDING),
    Handling.BLOCK: ByHand(REJECTED, "rejected"),
}


async def decide_by_hand(
    database: Reading, presentity: Presentity, watcher: tuple[str, str], handling: Handling | None
) -> bool:
    """Decide about a watcher (user, domain), whatever rules say; None leaves him to the rules again.

    Whether that changed anything. His dialogs are told, and what waits has its decision. Errors as for `put_rules`.
    """
    status, reason = (None, None) if handling is None else _HANDLINGS[handling]
    rows = await database.fetch(_BY_HAND, *presentity, *watcher, status, reason)
    return bool(rows[0]["changed"])


async def decisions(
    database: Reading,
    presentity_hash: int,
    uri: str,
    event: str | None = None,
    *,
    by_hand: bool = False,
    limit: int = 1000,
) -> list[DecisionRow]:
    """What was decided about the watchers of a presentity, the oldest first; errors as for `put_rules`."""
    rows = await database.fetch(_DECISIONS, presentity_hash, uri, event, by_hand, limit)
    return [
        DecisionRow(
            row["event"],
            (row["watcher_username"], row["watcher_domain"]),
            row["status"],
            row["reason"],
            row["inserted_time"].timestamp(),
            row["by_hand"],
        )
        for row in rows
    ]


def _columns(presentities: Sequence[Presentity]) -> tuple[list[int], list[str], list[str]]:
    return (
        [presentity.hash for presentity in presentities],
        [presentity.uri for presentity in presentities],
        [presentity.event for presentity in presentities],
    )
