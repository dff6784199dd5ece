"""What rules grant: how a subscription is handled (RFC 5025 section 3.2) and what is shown (section 3.3)."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import quote, unquote

ALL = "all"
"""The kind of a selector that selects every component; its value is ""."""

Selectors = frozenset[tuple[str, str]]
"""Pairs of kind (`class`, `occurrence-id`, ...) and value; a component is shown where one of them selects it."""

_EVERY: Selectors = frozenset({(ALL, "")})


class Handling(IntEnum):
    """What becomes of a subscription; the numbers are those of RFC 5025 section 3.2.1, and the highest one wins."""

    BLOCK = 0
    CONFIRM = 10
    POLITE_BLOCK = 20
    ALLOW = 30

    @property
    def text(self) -> str:
        """As documents and parameters write it: `polite-block`."""
        return self.name.lower().replace("_", "-")

    @classmethod
    def from_text(cls, text: str) -> "Handling":
        """The handling of that text; raises ValueError for any other."""
        for handling in cls:
            if handling.text == text:
                return handling
        raise ValueError(f"{text!r} is not one of {', '.join(handling.text for handling in cls)}")


class UserInput(IntEnum):
    """How much of <user-input> is shown (RFC 5025 section 3.3.2.12)."""

    FALSE = 0
    BARE = 10
    THRESHOLDS = 20
    FULL = 30

    @property
    def text(self) -> str:
        """As documents write it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Sight:
    """What is shown of a presence document."""

    services: Selectors = frozenset()
    persons: Selectors = frozenset()
    devices: Selectors = frozenset()
    attributes: frozenset[str] = frozenset()
    """Names behind `provide-` that are true: `activities`, `note`, and those of OMA."""
    user_input: UserInput = UserInput.FALSE
    unknown: frozenset[tuple[str, str]] = frozenset()
    """Namespace and name of elements that <provide-unknown-attribute> shows."""
    all_attributes: bool = False

    def key(self) -> str:
        """A short canonical text, from which `from_key` makes the same sight again."""
        parts = [
            f"{letter}={_selectors_text(selectors)}"
            for letter, selectors in (("s", self.services), ("p", self.persons), ("d", self.devices))
            if selectors
        ]
        if self.all_attributes:
            parts.append("a=*")
        elif self.attributes:
            parts.append("a=" + ",".join(sorted(_escape(name) for name in self.attributes)))
        if self.user_input:
            parts.append(f"u={self.user_input.text}")
        if self.unknown:
            parts.append("x=" + ",".join(sorted(f"{_escape(ns)}:{_escape(name)}" for ns, name in self.unknown)))
        return ";".join(parts)

    @classmethod
    def from_key(cls, text: str) -> "Sight":
        """The sight of a key; raises ValueError for a text that `key` did not make."""
        fields = {letter: value for letter, _, value in (part.partition("=") for part in text.split(";")) if letter}
        attributes = fields.get("a", "")
        level = fields.get("u", UserInput.FALSE.text).upper()
        if not fields.keys() <= set("spdaux") or level not in UserInput.__members__:
            raise ValueError(f"not the key of a sight: {text!r}")
        return cls(
            services=_selectors(fields.get("s", "")),
            persons=_selectors(fields.get("p", "")),
            devices=_selectors(fields.get("d", "")),
            attributes=frozenset(unquote(name) for name in attributes.split(",") if name not in {"", "*"}),
            user_input=UserInput[level],
            unknown=frozenset(_pair(item) for item in fields.get("x", "").split(",") if item),
            all_attributes=attributes == "*",
        )


NOTHING = Sight()
EVERYTHING = Sight(services=_EVERY, persons=_EVERY, devices=_EVERY, all_attributes=True)


def unite(sights: Iterable[Sight]) -> Sight:
    """Sets are united, the highest value wins (RFC 4745 section 10.2)."""
    services: set[tuple[str, str]] = set()
    persons: set[tuple[str, str]] = set()
    devices: set[tuple[str, str]] = set()
    attributes: set[str] = set()
    unknown: set[tuple[str, str]] = set()
    user_input = UserInput.FALSE
    all_attributes = False
    for sight in sights:
        services |= sight.services
        persons |= sight.persons
        devices |= sight.devices
        attributes |= sight.attributes
        unknown |= sight.unknown
        user_input = max(user_input, sight.user_input)
        all_attributes |= sight.all_attributes
    return Sight(
        frozenset(services),
        frozenset(persons),
        frozenset(devices),
        frozenset(attributes),
        user_input,
        frozenset(unknown),
        all_attributes,
    )


def combine(sights: Iterable[Sight]) -> Sight:
    """What several rules show together, without what makes no difference: equal outcomes are equal values."""
    united = unite(sights)
    kept = (_canonical(united.services), _canonical(united.persons), _canonical(united.devices))
    if not any(kept):
        # attributes are those of components: of none there are none
        return NOTHING
    if united.all_attributes:
        return Sight(*kept, all_attributes=True)
    return Sight(*kept, united.attributes, united.user_input, united.unknown)


def _canonical(selectors: Selectors) -> Selectors:
    return _EVERY if (ALL, "") in selectors else selectors


def _escape(text: str) -> str:
    return quote(text, safe="/+@")


def _selectors_text(selectors: Selectors) -> str:
    if selectors == _EVERY:
        return "*"
    return ",".join(sorted(f"{_escape(kind)}:{_escape(value)}" for kind, value in selectors))


def _selectors(text: str) -> Selectors:
    if text == "*":
        return _EVERY
    return frozenset(_pair(item) for item in text.split(",") if item)


def _pair(item: str) -> tuple[str, str]:
    first, _, second = item.partition(":")
    return unquote(first), unquote(second)
