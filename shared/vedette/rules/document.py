"""Reading rules documents: RFC 4745 with presence rules (RFC 5025) and what OMA adds.

What is not known is passed over only where that grants less: an unknown condition never holds, an unknown action or
transformation grants nothing. Everything else that the schemas do not allow makes the document unreadable, and who
decides by an unreadable document blocks: a misspelt <conditions> must not open a door.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from lxml import etree

from vedette.documents.xml_copy import namespace
from vedette.documents.xml_reader import DocumentError, read_document
from vedette.rules.addresses import ascii_domain, identity_of
from vedette.rules.conditions import (
    AnonymousRequest,
    Condition,
    ExternalList,
    Identity,
    Many,
    OtherIdentity,
    Sphere,
    Unknown,
    Validity,
)
from vedette.rules.permissions import ALL, Handling, Sight, UserInput, unite

COMMON_POLICY = "urn:ietf:params:xml:ns:common-policy"
PRES_RULES = "urn:ietf:params:xml:ns:pres-rules"
DIALOG_RULES = "urn:ag-projects:xml:ns:dialog-rules"
OMA_COMMON_POLICY = "urn:oma:xml:xdm:common-policy"
OMA_PRES_RULES = "urn:oma:xml:prs:pres-rules"

MAX_OCTETS = 256 * 1024
MAX_RULES = 1000
MAX_IDENTITIES = 10_000
"""<one>, <many>, <except> and entries of external lists of a document together."""
MAX_PERIODS = 1000
MAX_GRANTS = 1000
"""Selectors of components and unknown attributes of a document together."""
MAX_REMARKS = 100
MAX_TEXT = 1024
"""Characters of a value."""

_BOOLEAN_ATTRIBUTES = {
    f"{{{uri}}}provide-{name}": name
    for uri, names in (
        (
            PRES_RULES,
            (
                *("activities", "class", "deviceID", "mood", "note", "place-is", "place-type", "privacy"),
                *("relationship", "sphere", "status-icon", "time-offset"),
            ),
        ),
        (
            OMA_PRES_RULES,
            ("willingness", "network-availability", "session-participation", "registration-state", "barring-state"),
        ),
    )
    for name in names
}
GEOPRIV = "geopriv"
_COMPONENTS = {
    f"{{{PRES_RULES}}}provide-services": (
        "services",
        "all-services",
        {f"{{{PRES_RULES}}}{name}": name for name in ("class", "occurrence-id", "service-uri", "service-uri-scheme")}
        | {f"{{{OMA_PRES_RULES}}}service-id": "service-id"},
    ),
    f"{{{PRES_RULES}}}provide-persons": (
        "persons",
        "all-persons",
        {f"{{{PRES_RULES}}}{name}": name for name in ("class", "occurrence-id")},
    ),
    f"{{{PRES_RULES}}}provide-devices": (
        "devices",
        "all-devices",
        {f"{{{PRES_RULES}}}{name}": name for name in ("class", "occurrence-id", "deviceID")},
    ),
}
"""By element: the field of a sight, the element that selects all, and the kinds of selectors."""
_SUB_HANDLING = frozenset({f"{{{PRES_RULES}}}sub-handling", f"{{{DIALOG_RULES}}}sub-handling"})
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_DATE_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]+))?(Z|[+-](?:0[0-9]|1[0-4]):[0-5][0-9])?"
)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a document cannot be used; whoever decides by it blocks."""

    reason: str
    line: int | None = None
    element: str | None = None
    """The element as people know it: `sub-handling`."""

    def __str__(self) -> str:
        return _place(self.line, self.element) + self.reason


@dataclass(frozen=True, slots=True)
class Remark:
    """Something in a document that has no effect, or another one than its author may think."""

    line: int
    element: str
    text: str

    def __str__(self) -> str:
        return _place(self.line, self.element) + self.text


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; it matches where all its conditions hold."""

    id: str
    line: int
    conditions: tuple[Condition, ...]
    """But for <validity>."""
    validities: tuple[Validity, ...]
    handling: Handling | None
    """None where the rule says nothing of it."""
    sight: Sight


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules of a document in its order, and the first MAX_REMARKS remarks."""

    rules: tuple[Rule, ...]
    remarks: tuple[Remark, ...] = ()

    @property
    def lists(self) -> frozenset[str]:
        """The anchors of the external lists that its rules name (OMA)."""
        return frozenset(
            anchor
            for rule in self.rules
            for condition in rule.conditions
            if isinstance(condition, ExternalList)
            for anchor in condition.anchors
        )


def together(documents: Sequence[RuleSet | Unreadable]) -> RuleSet | Unreadable | None:
    """The rules of several documents as those of one (RFC 5025 section 9.7); None where there is no document.

    Rules only ever grant, so a document that cannot be read can be left out beside others; alone it is the answer.
    """
    read = [document for document in documents if isinstance(document, RuleSet)]
    if read or not documents:
        return _joined(read) if read else None
    return documents[0]


def _joined(read: Sequence[RuleSet]) -> RuleSet:
    if len(read) == 1:
        return read[0]
    return RuleSet(
        tuple(rule for document in read for rule in document.rules),
        tuple(remark for document in read for remark in document.remarks),
    )


def read_rules(octets: bytes) -> RuleSet | Unreadable:
    """The rules of a document, or why they cannot be used."""
    if len(octets) > MAX_OCTETS:
        return Unreadable(f"the document has more than {MAX_OCTETS} octets")
    # the reader of XML passes over what stands before the document, and counts lines from there
    above = octets[: len(octets) - len(octets.lstrip())].count(b"\n")
    try:
        root = read_document(octets)
    except DocumentError as error:
        return Unreadable(str(error)) if error.line is None else Unreadable("not well-formed XML", error.line + above)
    if root.tag != f"{{{COMMON_POLICY}}}ruleset":
        return Unreadable(f"the root element is not ruleset of {COMMON_POLICY}", _line(root) + above, _name(root))
    try:
        return _Reader(above).read(root)
    except _RefusedError as refused:
        return Unreadable(refused.reason, _line(refused.element) + above, _name(refused.element))


class _RefusedError(Exception):
    def __init__(self, element: etree._Element, reason: str) -> None:
        super().__init__(reason)
        self.element = element
        self.reason = reason


@dataclass(slots=True)
class _Reader:
    """Reads one document; counts what is limited."""

    above: int
    """Lines above the document."""
    remarks: list[Remark] = field(default_factory=list)
    identities: int = 0
    periods: int = 0
    grants: int = 0

    def read(self, root: etree._Element) -> RuleSet:
        rules: dict[str, Rule] = {}
        for child in _children(root):
            if child.tag != f"{{{COMMON_POLICY}}}rule":
                if namespace(child) in {"", COMMON_POLICY, PRES_RULES}:
                    raise _RefusedError(child, "only rule stands here")
                self._remark(child, "not known, ignored")
                continue
            if len(rules) >= MAX_RULES:
                raise _RefusedError(child, f"more than {MAX_RULES} rules")
            rule = self._rule(child)
            if rule.id in rules:
                raise _RefusedError(child, f"the id {_short(rule.id)} is that of an earlier rule, too")
            rules[rule.id] = rule
        return RuleSet(tuple(rules.values()), tuple(self.remarks))

    def _rule(self, element: etree._Element) -> Rule:
        rule_id = _attribute(element, "id")
        if rule_id is None or not rule_id.strip():
            raise _RefusedError(element, "a rule needs an id")
        parts: dict[str, etree._Element] = {}
        for child in _children(element):
            name = etree.QName(child).localname
            if namespace(child) != COMMON_POLICY or name not in {"conditions", "actions", "transformations"}:
                # passed over, a misspelt <conditions> would leave a rule for everybody
                raise _RefusedError(
                    child, f"only conditions, actions and transformations of {COMMON_POLICY} stand in a rule"
                )
            if name in parts:
                raise _RefusedError(child, "stands twice in a rule")
            parts[name] = child
        conditions: list[Condition] = []
        validities: list[Validity] = []
        for child in _children(parts.get("conditions")):
            condition = self._condition(child)
            if isinstance(condition, Validity):
                validities.append(condition)
            else:
                conditions.append(condition)
        handling = self._actions(parts.get("actions"))
        sight = self._transformations(parts.get("transformations"))
        return Rule(
            rule_id.strip(), _line(element) + self.above, tuple(conditions), tuple(validities), handling, sight
        )

    def _condition(self, element: etree._Element) -> Condition:
        read = _CONDITIONS.get(str(element.tag))
        if read is not None:
            return read(self, element)
        self._remark(element, "this condition is not known: the rule never matches")
        return Unknown(_name(element))

    def identity(self, element: etree._Element) -> Condition:
        ones: set[str] = set()
        many: list[Many] = []
        children = list(_children(element))
        for child in children:
            if child.tag == f"{{{COMMON_POLICY}}}one":
                self._count_identity(child)
                one = self._one(child)
                if one is not None:
                    ones.add(one)
            elif child.tag == f"{{{COMMON_POLICY}}}many":
                self._count_identity(child)
                many.append(self._many(child))
            else:
                self._remark(child, "not known in identity: it names nobody")
        return Identity(frozenset(ones), tuple(many), empty=not children)

    def _one(self, element: etree._Element) -> str | None:
        written = _attribute(element, "id")
        if written is None:
            raise _RefusedError(element, "one needs an id")
        for child in _children(element):
            self._remark(child, "not known in one: it names nobody")
            return None
        identity = identity_of(written)
        if identity is None:
            self._remark(element, f"{_short(written)} is not a URI like sip:bob@example.com: it names nobody")
        return identity

    def _many(self, element: etree._Element) -> Many:
        identities: set[str] = set()
        domains: set[str] = set()
        unknown = False
        for child in _children(element):
            if child.tag != f"{{{COMMON_POLICY}}}except":
                self._remark(child, "not known in many, which therefore matches nobody")
                unknown = True
                continue
            self._count_identity(child)
            written, domain = _attribute(child, "id"), _attribute(child, "domain")
            if written is None and domain is None:
                raise _RefusedError(child, "except needs an id or a domain")
            if domain is not None:
                domains.add(ascii_domain(domain))
            if written is not None:
                identity = identity_of(written)
                if identity is None:
                    raise _RefusedError(child, f"{_short(written)} is not a URI like sip:bob@example.com")
                identities.add(identity)
        domain = _attribute(element, "domain")
        return Many(
            None if domain is None else ascii_domain(domain), frozenset(identities), frozenset(domains), unknown
        )

    def sphere(self, element: etree._Element) -> Condition:
        value = _attribute(element, "value")
        if value is None:
            raise _RefusedError(element, "sphere needs a value")
        return Sphere(frozenset(value.lower().split()))

    def validity(self, element: etree._Element) -> Condition:
        children = list(_children(element))
        names = [str(child.tag) for child in children]
        pair = [f"{{{COMMON_POLICY}}}from", f"{{{COMMON_POLICY}}}until"]
        if not children or names != pair * (len(children) // 2):
            raise _RefusedError(element, "validity has pairs of from and until, and nothing else")
        self.periods += len(children) // 2
        if self.periods > MAX_PERIODS:
            raise _RefusedError(element, f"more than {MAX_PERIODS} periods of validity")
        times = [self._time(child) for child in children]
        periods = tuple(zip(times[::2], times[1::2], strict=True))
        for child, (start, end) in zip(children[::2], periods, strict=True):
            if start >= end:
                self._remark(child, "until is not after from: this period never is")
        return Validity(periods)

    def _time(self, element: etree._Element) -> datetime:
        text = _text(element)
        match = _DATE_TIME.fullmatch(text)
        if match is None:
            raise _RefusedError(element, f"{_short(text)} is not a time like 2026-12-24T17:00:00+01:00")
        try:
            time = datetime.fromisoformat(f"{match[1]}.{(match[2] or '')[:6]:0<6}{match[3] or ''}")
        except ValueError:
            raise _RefusedError(element, f"there is no time {_short(text)}") from None
        if time.tzinfo is None:
            self._remark(element, "has no time zone: taken as UTC")
            return time.replace(tzinfo=UTC)
        return time

    def external_list(self, element: etree._Element) -> Condition:
        anchors: set[str] = set()
        for child in _children(element):
            anchor = _attribute(child, "anc")
            if child.tag != f"{{{OMA_COMMON_POLICY}}}entry" or anchor is None:
                raise _RefusedError(child, "external-list has entries with anc, and nothing else")
            self._count_identity(child)
            anchors.add(anchor.strip())
        return ExternalList(frozenset(anchors))

    def anonymous_request(self, _element: etree._Element) -> Condition:
        return AnonymousRequest()

    def other_identity(self, _element: etree._Element) -> Condition:
        return OtherIdentity()

    def _actions(self, element: etree._Element | None) -> Handling | None:
        handling: Handling | None = None
        for child in _children(element):
            if child.tag not in _SUB_HANDLING:
                self._remark(child, "this action is not known, ignored")
                continue
            try:
                said = Handling.from_text(_text(child))
            except ValueError as error:
                raise _RefusedError(child, str(error)) from None
            if handling not in {None, said}:
                raise _RefusedError(child, "the rule says something else before")
            handling = said
        return handling

    def _transformations(self, element: etree._Element | None) -> Sight:
        return unite(self._transformation(child) for child in _children(element))

    def _transformation(self, element: etree._Element) -> Sight:
        tag = str(element.tag)
        if tag in _COMPONENTS:
            return self._component(element)
        if tag in _BOOLEAN_ATTRIBUTES:
            return Sight(attributes=frozenset({_BOOLEAN_ATTRIBUTES[tag]} if self._boolean(element) else ()))
        if tag == f"{{{PRES_RULES}}}provide-all-attributes":
            return Sight(all_attributes=True)
        if tag == f"{{{PRES_RULES}}}provide-user-input":
            text = _text(element)
            for value in UserInput:
                if value.text == text:
                    return Sight(user_input=value)
            raise _RefusedError(element, f"{_short(text)} is not one of false, bare, thresholds, full")
        if tag == f"{{{PRES_RULES}}}provide-unknown-attribute":
            return self._unknown_attribute(element)
        if tag == f"{{{OMA_PRES_RULES}}}provide-geopriv":
            if _text(element) not in {"false", "full"}:
                raise _RefusedError(element, f"{_short(_text(element))} is not one of false, full")
            return Sight(attributes=frozenset({GEOPRIV} if _text(element) == "full" else ()))
        self._remark(element, "this transformation is not known, it shows nothing")
        return Sight()

    def _component(self, element: etree._Element) -> Sight:
        name, everything, kinds = _COMPONENTS[str(element.tag)]
        selectors: set[tuple[str, str]] = set()
        for child in _children(element):
            if child.tag == f"{{{PRES_RULES}}}{everything}":
                selectors.add((ALL, ""))
            elif str(child.tag) in kinds:
                self._count_grant(child)
                selectors.add((kinds[str(child.tag)], _text(child)))
            else:
                self._remark(child, "not known here, it selects nothing")
        if not selectors and _text(element):
            self._remark(element, f"text selects nothing; write {everything} to show all of them")
        found = frozenset(selectors)
        if name == "services":
            return Sight(services=found)
        return Sight(persons=found) if name == "persons" else Sight(devices=found)

    def _unknown_attribute(self, element: etree._Element) -> Sight:
        uri, name = _attribute(element, "ns"), _attribute(element, "name")
        if uri is None or name is None:
            raise _RefusedError(element, "provide-unknown-attribute needs ns and name")
        self._count_grant(element)
        return Sight(unknown=frozenset({(uri.strip(), name.strip())} if self._boolean(element) else ()))

    def _boolean(self, element: etree._Element) -> bool:
        value = _BOOLEANS.get(_text(element))
        if value is None:
            raise _RefusedError(element, f"{_short(_text(element))} is neither true nor false")
        return value

    def _count_identity(self, element: etree._Element) -> None:
        self.identities += 1
        if self.identities > MAX_IDENTITIES:
            raise _RefusedError(element, f"more than {MAX_IDENTITIES} identities")

    def _count_grant(self, element: etree._Element) -> None:
        self.grants += 1
        if self.grants > MAX_GRANTS:
            raise _RefusedError(element, f"more than {MAX_GRANTS} selectors and unknown attributes")

    def _remark(self, element: etree._Element, text: str) -> None:
        if len(self.remarks) < MAX_REMARKS:
            self.remarks.append(Remark(_line(element) + self.above, _name(element), text))


_CONDITIONS: dict[str, Callable[[_Reader, etree._Element], Condition]] = {
    f"{{{COMMON_POLICY}}}identity": _Reader.identity,
    f"{{{COMMON_POLICY}}}sphere": _Reader.sphere,
    f"{{{COMMON_POLICY}}}validity": _Reader.validity,
    f"{{{OMA_COMMON_POLICY}}}anonymous-request": _Reader.anonymous_request,
    f"{{{OMA_COMMON_POLICY}}}external-list": _Reader.external_list,
    f"{{{OMA_COMMON_POLICY}}}other-identity": _Reader.other_identity,
}


_CONVENTIONAL = {
    "": "",
    COMMON_POLICY: "",
    PRES_RULES: "",
    DIALOG_RULES: "dialog-rules:",
    OMA_COMMON_POLICY: "",
    OMA_PRES_RULES: "",
}


def _children(element: etree._Element | None) -> Iterator[etree._Element]:
    """The child elements; none where there is no element."""
    return iter(()) if element is None else element.iterchildren(tag=etree.Element)


def _attribute(element: etree._Element, name: str) -> str | None:
    value = element.get(name)
    if value is not None and len(value) > MAX_TEXT:
        raise _RefusedError(element, f"{name} has more than {MAX_TEXT} characters")
    return value


def _text(element: etree._Element) -> str:
    """The text of an element as a token: no white space around it, single blanks in it."""
    text = " ".join((element.text or "").split())
    if len(text) > MAX_TEXT:
        raise _RefusedError(element, f"more than {MAX_TEXT} characters")
    return text


def _line(element: etree._Element) -> int:
    line: object = element.sourceline
    return line if isinstance(line, int) else 0


def _name(element: etree._Element) -> str:
    """An element's name for people: with its namespace where that is not one of ours."""
    name = etree.QName(element)
    prefix = _CONVENTIONAL.get(name.namespace or "")
    if prefix is None:
        return f"{{{_short(name.namespace or '')}}}{_short(name.localname)}"
    return prefix + _short(name.localname)


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def _place(line: int | None, element: str | None) -> str:
    return (f"line {line}: " if line else "") + (f"<{element}>: " if element else "")
