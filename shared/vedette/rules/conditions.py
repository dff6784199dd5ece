"""The conditions of rules (RFC 4745 section 7, RFC 5025 section 3.1, OMA XDM): each holds or says why it does not."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of rules: whether this watcher may see that state now."""

    watcher: str | None
    """URI of the watcher; None where it is not authenticated or wants to be anonymous."""
    presentity: str
    event: str
    sphere: str | None
    """Of the presentity, as `sphere_of` reads it; None: undefined."""
    now: datetime
    lists: frozenset[str] | None = None
    """The anchors of OMA's external lists that name the watcher; None: nobody has looked."""


@dataclass(frozen=True, slots=True)
class Situation:
    """The question in the forms that conditions compare."""

    identity: str | None
    domain: str | None
    sphere: str | None
    now: datetime
    lists: frozenset[str] | None = None
    named: bool | None = None
    """Whether a rule of the document names the watcher; None: a list would say so that nobody has read."""


class Condition(Protocol):
    """A child of <conditions>."""

    def refusal(self, situation: Situation) -> str | None:
        """Why it does not hold; None where it does."""


@dataclass(frozen=True, slots=True)
class Many:
    """<many>: every authenticated watcher, of a domain where one is given, but for the exceptions."""

    domain: str | None = None
    except_identities: frozenset[str] = frozenset()
    except_domains: frozenset[str] = frozenset()
    unknown: bool = False
    """Something in it is not understood: it matches nobody, since that may be an exception."""

    def holds(self, identity: str, domain: str | None) -> bool:
        """Whether it matches that watcher."""
        return (
            not self.unknown
            and (self.domain is None or self.domain == domain)
            and identity not in self.except_identities
            and (domain is None or domain not in self.except_domains)
        )


@dataclass(frozen=True, slots=True)
class Identity:
    """<identity>: any of its children; an empty one means watchers that are not authenticated."""

    ones: frozenset[str] = frozenset()
    many: tuple[Many, ...] = ()
    empty: bool = False

    def refusal(self, situation: Situation) -> str | None:
        """Why it does not hold; None where it does."""
        identity = situation.identity
        if identity is None:
            return None if self.empty else "identity: the watcher is not authenticated"
        if identity in self.ones or any(many.holds(identity, situation.domain) for many in self.many):
            return None
        return f"identity: does not name {identity}"


@dataclass(frozen=True, slots=True)
class Sphere:
    """<sphere>: one of its words, in lower case."""

    values: frozenset[str]

    def refusal(self, situation: Situation) -> str | None:
        """Why it does not hold; None where it does."""
        if situation.sphere is None:
            return "sphere: that of the presentity is not known"
        if situation.sphere.lower() in self.values:
            return None
        return f"sphere: is {situation.sphere}, not {' or '.join(sorted(self.values))}"


@dataclass(frozen=True, slots=True)
class Validity:
    """<validity>: from the first moment of one of its periods until before the second."""

    periods: tuple[tuple[datetime, datetime], ...]

    def refusal(self, situation: Situation) -> str | None:
        """Why it does not hold; None where it does."""
        if any(start <= situation.now < end for start, end in self.periods):
            return None
        return f"validity: not at {situation.now.isoformat(timespec='seconds')}"


@dataclass(frozen=True, slots=True)
class AnonymousRequest:
    """OMA's <anonymous-request>: the watcher is not authenticated."""

    def refusal(self, situation: Situation) -> str | None:
        """Why it does not hold; None where it does."""
        return None if situation.identity is None else "anonymous-request: the watcher is authenticated"


@dataclass(frozen=True, slots=True)
class ExternalList:
    """OMA's <external-list>: the watcher is in one of these resource lists."""

    anchors: frozenset[str]

    def refusal(self, situation: Situation) -> str | None:
        """Why it does not hold; None where it does."""
        if situation.identity is None:
            return "external-list: the watcher is not authenticated"
        if situation.lists is None:
            return "external-list: the lists are not read"
        return None if self.anchors & situation.lists else "external-list: the watcher is in none of the lists"


@dataclass(frozen=True, slots=True)
class OtherIdentity:
    """OMA's <other-identity>: no rule of the document names the watcher."""

    def refusal(self, situation: Situation) -> str | None:
        """Why it does not hold; None where it does."""
        if situation.named is None:
            return "other-identity: the lists of other rules are not read"
        return "other-identity: another rule names the watcher" if situation.named else None


@dataclass(frozen=True, slots=True)
class Unknown:
    """A condition of a namespace that is not known, which never holds (RFC 4745 section 7)."""

    name: str

    def refusal(self, _situation: Situation) -> str:
        """Why it does not hold."""
        return f"{self.name}: this condition is not known"


NAMES_WATCHERS = (Identity, AnonymousRequest, ExternalList)
"""The conditions that <other-identity> is about."""
