"""What rules decide of a subscription: every rule that matches counts (RFC 4745 section 10)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from vedette.rules.addresses import domain_of, identity_of
from vedette.rules.conditions import NAMES_WATCHERS, Asked, Condition, ExternalList, OtherIdentity, Situation
from vedette.rules.document import Rule, RuleSet, Unreadable
from vedette.rules.permissions import EVERYTHING, NOTHING, Handling, Sight, combine

__all__ = ["Asked", "Basis", "Decision", "Handling", "RuleVerdict", "Sight", "decide", "explain"]

_PRESENCE = "presence"
_MAX_EDGES = 16
"""Moments at which a decision is tried out to find when it changes."""


class Basis(StrEnum):
    """What a decision rests on."""

    OWN = "own"
    """The watcher is the presentity: nobody is kept from their own state."""
    RULES = "rules"
    DEFAULT = "default"
    """There are no rules."""
    UNREADABLE = "unreadable"
    """There are rules that cannot be read: blocked."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a subscription."""

    handling: Handling
    sight: Sight
    """What is shown; NOTHING unless it is allowed, EVERYTHING in packages that have no transformations."""
    matched: tuple[str, ...]
    """The ids of the rules that matched, in the document's order."""
    until: datetime | None
    """The decision stays the same until then at least (a <validity> begins or ends); None: while the rules do."""
    basis: Basis = Basis.RULES


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """Whether a rule matched, and why or why not, for people."""

    id: str
    matched: bool
    why: str


def decide(rules: RuleSet | Unreadable | None, asked: Asked, default: Handling) -> Decision:
    """The decision for a watcher; `rules` is None where the presentity has none, which leaves it to `default`.

    Rules of which none matches block (RFC 5025 section 3.2.1), and so do rules that cannot be read. All that match
    are combined: the highest handling and the union of what they show, whatever their order.
    """
    if _is_own(asked):
        return Decision(Handling.ALLOW, EVERYTHING, (), None, Basis.OWN)
    if rules is None:
        return Decision(default, EVERYTHING if default is Handling.ALLOW else NOTHING, (), None, Basis.DEFAULT)
    if isinstance(rules, Unreadable):
        return Decision(Handling.BLOCK, NOTHING, (), None, Basis.UNREADABLE)
    situation = _situation(asked)
    standing = [
        rule
        for rule, its_situation in _situations(rules, situation)
        if all(condition.refusal(its_situation) is None for condition in rule.conditions)
    ]
    now = _in_force(standing, situation)
    handling, sight = _outcome(now, asked.event)
    until = _until(standing, situation, asked.event, (handling, sight))
    return Decision(handling, sight, tuple(rule.id for rule in now), until)


def explain(rules: RuleSet | Unreadable | None, asked: Asked, default: Handling) -> tuple[RuleVerdict, ...]:
    """Of every rule whether it matches and why (not), in the document's order; () where no rule is asked.

    No rule is asked where the presentity asks for its own state, has no rules, or has some that cannot be read:
    `decide(...).basis` says which.
    """
    decision = decide(rules, asked, default)
    if decision.basis is not Basis.RULES or not isinstance(rules, RuleSet):
        return ()
    return tuple(_verdict(rule, situation) for rule, situation in _situations(rules, _situation(asked)))


def _verdict(rule: Rule, situation: Situation) -> RuleVerdict:
    refusals = [condition.refusal(situation) for condition in (*rule.conditions, *rule.validities)]
    why = "; ".join(refusal for refusal in refusals if refusal is not None)
    if why:
        return RuleVerdict(rule.id, matched=False, why=why)
    conditions = "all conditions hold" if refusals else "it has no conditions"
    handling = "no handling" if rule.handling is None else rule.handling.text
    return RuleVerdict(rule.id, matched=True, why=f"{conditions}: {handling}")


def _is_own(asked: Asked) -> bool:
    return asked.watcher is not None and identity_of(asked.watcher) == identity_of(asked.presentity)


def _situation(asked: Asked) -> Situation:
    identity = None if asked.watcher is None else identity_of(asked.watcher)
    domain = None if identity is None else domain_of(identity)
    return Situation(identity, domain, asked.sphere, asked.now, asked.lists)


def _situations(rules: RuleSet, situation: Situation) -> Iterator[tuple[Rule, Situation]]:
    """Each rule with the situation that it is asked in: for <other-identity> with what the others say."""
    if not any(_has(rule, OtherIdentity) for rule in rules.rules):
        yield from ((rule, situation) for rule in rules.rules)
        return
    naming = [any(_names(condition, situation) for condition in rule.conditions) for rule in rules.rules]
    unread = [situation.lists is None and _has(rule, ExternalList) for rule in rules.rules]
    how_many, how_many_unread = sum(naming), sum(unread)
    for rule, names, is_unread in zip(rules.rules, naming, unread, strict=True):
        named = True if how_many > names else None if how_many_unread > is_unread else False
        yield rule, replace(situation, named=named)


def _has(rule: Rule, kind: type[Condition]) -> bool:
    return any(isinstance(condition, kind) for condition in rule.conditions)


def _names(condition: Condition, situation: Situation) -> bool:
    return isinstance(condition, NAMES_WATCHERS) and condition.refusal(situation) is None


def _in_force(standing: Sequence[Rule], situation: Situation) -> list[Rule]:
    return [
        rule
        for rule in standing
        if not rule.validities or all(validity.refusal(situation) is None for validity in rule.validities)
    ]


def _outcome(rules: Sequence[Rule], event: str) -> tuple[Handling, Sight]:
    handling = max((rule.handling for rule in rules if rule.handling is not None), default=Handling.BLOCK)
    if handling is not Handling.ALLOW:
        return handling, NOTHING
    return handling, _shown(tuple(rule.sight for rule in rules)) if event == _PRESENCE else EVERYTHING


@lru_cache(maxsize=256)
def _shown(sights: tuple[Sight, ...]) -> Sight:
    """What rules show together; the same few of a document, whoever asks."""
    return combine(sights)


def _until(
    standing: Sequence[Rule], situation: Situation, event: str, outcome: tuple[Handling, Sight]
) -> datetime | None:
    if not any(rule.validities for rule in standing):
        return None
    edges = sorted(
        {
            moment
            for rule in standing
            for validity in rule.validities
            for period in validity.periods
            for moment in period
            if moment > situation.now
        }
    )
    for edge in edges[:_MAX_EDGES]:
        if _outcome(_in_force(standing, replace(situation, now=edge)), event) != outcome:
            return edge
    return edges[_MAX_EDGES] if len(edges) > _MAX_EDGES else None
