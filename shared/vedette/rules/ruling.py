"""What becomes of one watcher: what a person has decided, else what rules say, else what holds without them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from vedette.rules.addresses import identity_of
from vedette.rules.conditions import Asked, Sphere
from vedette.rules.decision import Decision, decide
from vedette.rules.document import RuleSet, Unreadable
from vedette.rules.packages import DialogRule, default_for
from vedette.rules.permissions import EVERYTHING, Handling, Sight

ACTIVE, PENDING, REJECTED = 1, 2, 3
"""As the columns `status` of `watchers` and `active_watchers` have them."""

SHOWS_ALL = ""
SHOWS_NOTHING = "-"
SHOWS_OFFLINE = "offline"
SHOWS_BARE = "none"
"""What is shown where it is no key of a sight: the whole document, none, that of somebody who publishes nothing, and
the document without anything that rules have to grant."""

POLITE = Handling.POLITE_BLOCK.text
_PRESENCE = "presence"


class ByHand(NamedTuple):
    """A decision that a person made, as `watchers` has it."""

    status: int
    reason: str = ""
    """`polite-block`: active, and shown nothing."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the operator has set."""

    default_rule: Handling = Handling.CONFIRM
    dialog_rule: DialogRule = "same-domain"
    force_active: bool = False
    """Every subscription to presence is active, and its rules are not read."""
    sphere_check: bool = False
    """Whether rules may ask for the sphere; else it is undefined."""
    any_case: bool = False
    """Whether user parts of presentities have no case."""


@dataclass(frozen=True, slots=True)
class Rulebook:
    """All that is said about the watchers of a presentity and event, at one version."""

    version: int = 0
    """0: nothing was ever said."""
    rules: RuleSet | Unreadable | None = None
    by_hand: Mapping[tuple[str, str], ByHand] = field(default_factory=dict)
    """By user and domain of the watcher."""

    @property
    def asks_sphere(self) -> bool:
        """Whether a rule asks for the sphere of the presentity."""
        return isinstance(self.rules, RuleSet) and asks_sphere(self.rules)


NO_RULES = Rulebook()


class Ruling(NamedTuple):
    """What becomes of a watcher."""

    status: int
    reason: str
    """Of the subscription: `rejected`, `polite-block` or nothing."""
    shows: str
    """What is shown: one of the above, or the key of a `Sight`. Watchers that have this in common see the same."""
    until: float | None = None
    """Seconds since the epoch; it may be another one from then on. None: for as long as the rules stay."""


_RULINGS = {
    Handling.BLOCK: Ruling(REJECTED, "rejected", SHOWS_NOTHING),
    Handling.CONFIRM: Ruling(PENDING, "", SHOWS_NOTHING),
    Handling.POLITE_BLOCK: Ruling(ACTIVE, POLITE, SHOWS_OFFLINE),
    Handling.ALLOW: Ruling(ACTIVE, "", SHOWS_ALL),
}
LET_IN = _RULINGS[Handling.ALLOW]


def said(ruling: Ruling) -> str:
    """A ruling in words, of which the watcher is the subject."""
    if ruling.status == PENDING:
        return "waits for a decision"
    if ruling.status != ACTIVE:
        return "is not let in"
    words = {SHOWS_ALL: "sees everything", SHOWS_OFFLINE: "sees somebody who is offline", SHOWS_BARE: "sees nothing"}
    return words.get(ruling.shows, "sees a part")


def sight_of(shows: str) -> Sight:
    """The sight that `shows` of a ruling stands for, where it stands for one. Raises ValueError."""
    return Sight.from_key("" if shows == SHOWS_BARE else shows)


def asks_sphere(rules: RuleSet) -> bool:
    """Whether one of the rules asks for the sphere of the presentity."""
    return any(isinstance(condition, Sphere) for rule in rules.rules for condition in rule.conditions)


def watcher_uri(username: str, domain: str) -> str | None:
    """The URI of a watcher as tables have it; None for one who does not say who he is (RFC 3323 section 4.1.1.3)."""
    if domain == "anonymous.invalid":
        return None
    return f"sip:{username}@{domain}" if username else domain


def rules_are_asked(event: str, defaults: Defaults) -> bool:
    """Whether anything but the operator has a say in who watches."""
    return not (defaults.force_active and event == _PRESENCE)


def lets_everybody_in(book: Rulebook, defaults: Defaults, event: str) -> bool:
    """Whether all watchers see everything, whoever they are."""
    return event == _PRESENCE and (
        defaults.force_active or (book is NO_RULES and defaults.default_rule is Handling.ALLOW)
    )


def judge(
    book: Rulebook,
    defaults: Defaults,
    watcher: tuple[str, str],
    presentity: str,
    event: str,
    sphere: str | None,
    now: float,
) -> Ruling:
    """The ruling about a watcher (user, domain); `sphere` of the presentity, as far as it is defined.

    What a person has decided goes before all rules. Who is let in by hand sees what the rules show him, where they
    would let him in, too, and else everything.
    """
    if lets_everybody_in(book, defaults, event):
        return LET_IN
    said = book.by_hand.get(watcher)
    if said is not None and said.status != ACTIVE:
        return _RULINGS[Handling.CONFIRM if said.status == PENDING else Handling.BLOCK]
    if said is not None and said.reason == POLITE:
        return _RULINGS[Handling.POLITE_BLOCK]
    decision = decision_for(book, defaults, watcher_uri(*watcher), presentity, event, sphere, now)
    until = None if decision.until is None else decision.until.timestamp()
    ruling = _RULINGS[decision.handling]
    if said is not None and decision.handling is not Handling.ALLOW:
        return LET_IN if until is None else LET_IN._replace(until=until)
    if decision.handling is Handling.ALLOW and decision.sight != EVERYTHING:
        return Ruling(ruling.status, ruling.reason, _key_of(decision.sight) or SHOWS_BARE, until)
    return ruling if until is None else ruling._replace(until=until)


@lru_cache(maxsize=256)
def _key_of(sight: Sight) -> str:
    """The key of a sight; there are few, and many watchers of each."""
    return sight.key()


def decision_for(
    book: Rulebook,
    defaults: Defaults,
    watcher: str | None,
    presentity: str,
    event: str,
    sphere: str | None,
    now: float,
) -> Decision:
    """What the rules say of a watcher, whatever a person has decided."""
    asked = asked_of(defaults, watcher, presentity, event, sphere, now)
    default = default_for(event, asked.watcher, presentity, defaults.default_rule, defaults.dialog_rule)
    return decide(book.rules, asked, default)


def asked_of(
    defaults: Defaults, watcher: str | None, presentity: str, event: str, sphere: str | None, now: float
) -> Asked:
    """The question that rules are asked."""
    if defaults.any_case and watcher is not None and (identity_of(watcher) or "").lower() == presentity:
        watcher = presentity
    return Asked(
        watcher, presentity, event, sphere if defaults.sphere_check else None, datetime.fromtimestamp(now, UTC)
    )
