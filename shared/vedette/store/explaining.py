"""What a watcher sees and why, and who would see more or less under other rules: for people, from Postgres."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from vedette.events.package import Preferences, Publication
from vedette.events.presence import PRESENCE, published_sphere
from vedette.events.registry import PACKAGES
from vedette.identity import Presentity
from vedette.rules.decision import Basis, Decision, RuleVerdict, explain
from vedette.rules.document import RuleSet, Unreadable, read_rules, together
from vedette.rules.packages import default_for
from vedette.rules.ruling import (
    ACTIVE,
    SHOWS_ALL,
    SHOWS_NOTHING,
    SHOWS_OFFLINE,
    ByHand,
    Defaults,
    Rulebook,
    Ruling,
    asked_of,
    decision_for,
    judge,
    rules_are_asked,
    sight_of,
    watcher_uri,
)
from vedette.rules.transform import see
from vedette.store.authorization import Reading, document_uri, documents, read_rulebooks

_PUBLISHED = """
SELECT p.publication_id, p.content_type, p.body
FROM presentity AS p
WHERE p.presentity_hash = $1 AND p.presentity_uri = $2 AND p.event = $3 AND p.ended IS NULL
    AND p.expires > clock_timestamp()
ORDER BY p.version DESC, p.publication_id
"""
_WATCHERS = """
SELECT DISTINCT w.watcher_username, w.watcher_domain
FROM active_watchers AS w
WHERE w.presentity_hash = $1 AND w.presentity_uri = $2 AND w.event = $3 AND w.ended IS NULL AND w.status IN (1, 2)
UNION
SELECT k.watcher_username, k.watcher_domain
FROM watchers AS k
WHERE k.presentity_hash = $1 AND k.presentity_uri = $2 AND k.event = $3
ORDER BY 2, 1
LIMIT $4
"""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What becomes of a watcher, and why."""

    ruling: Ruling
    forced: bool
    """`force_active`: nobody is asked."""
    by_hand: ByHand | None
    """What a person has decided, which goes before the rules."""
    decision: Decision
    """What the rules say."""
    verdicts: tuple[RuleVerdict, ...]
    unreadable: Unreadable | None
    """Why the rules cannot be used, where that decided."""
    sphere: str | None
    content_type: str
    document: bytes
    """What he sees; empty: nothing."""
    removed: tuple[str, ...]
    """What rules have taken out of it."""


async def explain_watcher(
    database: Reading,
    presentity: Presentity,
    watcher: tuple[str, str],
    defaults: Defaults,
    now: float,
    *,
    mixes_calls: bool = False,
) -> Explanation:
    """What this watcher (user, domain) sees of a presentity now. Raises StoreError, or asyncpg's errors."""
    (book,) = await read_rulebooks(database, [presentity])
    published = await _published(database, presentity)
    sphere = published_sphere(presentity.uri, presentity.event, published)
    package = PACKAGES[presentity.event]
    if mixes_calls and package.mixture is not None:
        calls = await _published(database, Presentity(presentity.hash, presentity.uri, package.mixture.event))
        published[:0] = package.mixture.publications(calls)
    ruling = judge(book, defaults, watcher, presentity.uri, presentity.event, sphere, now)
    uri = watcher_uri(*watcher)
    decision = decision_for(book, defaults, uri, presentity.uri, presentity.event, sphere, now)
    asked = asked_of(defaults, uri, presentity.uri, presentity.event, sphere, now)
    default = default_for(
        presentity.event, asked.watcher, presentity.uri, defaults.default_rule, defaults.dialog_rule
    )
    document, removed = _seen(presentity, published, ruling)
    return Explanation(
        ruling,
        not rules_are_asked(presentity.event, defaults),
        book.by_hand.get(watcher),
        decision,
        explain(book.rules, asked, default),
        book.rules if isinstance(book.rules, Unreadable) and decision.basis is Basis.UNREADABLE else None,
        asked.sphere,
        package.notify_types[0] if document else "",
        document,
        removed,
    )


class Difference(NamedTuple):
    """A watcher for whom other rules make a difference."""

    watcher: tuple[str, str]
    before: Ruling
    after: Ruling

    @property
    def gains(self) -> bool | None:
        """Whether he sees more than before, or less; None: something else."""
        order = [_rank(self.before), _rank(self.after)]
        return None if order[0] == order[1] else order[0] < order[1]


def _rank(ruling: Ruling) -> int:
    if ruling.status != ACTIVE:
        return 0
    return {SHOWS_OFFLINE: 1, SHOWS_ALL: 3}.get(ruling.shows, 2)


async def differences(
    database: Reading,
    presentity: Presentity,
    octets: bytes | None,
    defaults: Defaults,
    now: float,
    *,
    name: str,
    limit: int = 100_000,
) -> list[Difference]:
    """For whom it would make a difference if the document of that name were this one, or were removed (None).

    All who watch are looked at, and all about whom something was decided. Errors as for `explain_watcher`.
    """
    (book,) = await read_rulebooks(database, [presentity])
    address = document_uri(presentity, name)
    stored = {
        item.doc_uri: item.octets for item in await documents(database, *presentity)
    }  # all of them: rules are used together
    stored.pop(address, None)
    if octets is not None:
        stored[address] = octets
    read: list[RuleSet | Unreadable] = [read_rules(stored[key]) for key in sorted(stored)]
    other: Rulebook = replace(book, version=max(book.version, 1), rules=together(read))
    sphere = published_sphere(presentity.uri, presentity.event, await _published(database, presentity))
    found: list[Difference] = []
    for user, domain in await database.fetch(_WATCHERS, *presentity, limit):
        before, after = (
            judge(one, defaults, (user, domain), presentity.uri, presentity.event, sphere, now)
            for one in (book, other)
        )
        if before[:3] != after[:3]:
            found.append(Difference((user, domain), before, after))
    return found


async def _published(database: Reading, presentity: Presentity) -> list[Publication]:
    rows = await database.fetch(_PUBLISHED, *presentity)
    return [Publication(*row) for row in rows]


def _seen(presentity: Presentity, published: Sequence[Publication], ruling: Ruling) -> tuple[bytes, tuple[str, ...]]:
    """The document, and what was taken out of it."""
    package = PACKAGES[presentity.event]
    if ruling.shows == SHOWS_NOTHING or ruling.status != ACTIVE:
        return b"", ()
    shown = [] if ruling.shows == SHOWS_OFFLINE else published
    composed = package.compose(presentity.uri, shown, package.notify_types[0], Preferences())
    whole = composed.with_version(0)
    if not shown or ruling.shows == SHOWS_ALL or presentity.event != PRESENCE.name:
        return whole, ()
    seen = see(whole, sight_of(ruling.shows))
    return seen.document, seen.removed
