"""Dialog information, application/dialog-info+xml (RFC 4235): which calls a line has.

What is published is read leniently; what is sent and kept is written anew and is valid by the schema. The rules:

- A dialog that has a Call-ID is known by its id, Call-ID and tags. Of several publications that have the same one the
  state that is furthest is shown: a state that comes late never replaces one that follows from it.
- The most interesting dialog comes first (a ringing one before one that is answered), for phones that show one only.
- Ids are those of the publisher where nobody else has the same.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast
from urllib.parse import quote

from lxml import etree

from vedette.documents.versioned import VersionedDocument
from vedette.documents.xml_copy import copy_below, namespace
from vedette.documents.xml_reader import DocumentError, read_document

DIALOG_INFO = "urn:ietf:params:xml:ns:dialog-info"
MAX_DIALOGS = 100
"""In one publication."""
MAX_CARRIED = 128 * 1024
"""Octets of a body to which dialogs of the body before were added."""

TRYING, PROCEEDING, EARLY, CONFIRMED, TERMINATED = range(5)
_STATES = ("trying", "proceeding", "early", "confirmed", "terminated")
_INTEREST = {EARLY: 0, CONFIRMED: 1, PROCEEDING: 2, TRYING: 3, TERMINATED: 4}
_EVENTS = frozenset({"cancelled", "rejected", "replaced", "local-bye", "remote-bye", "error", "timeout"})
_DIRECTIONS = {"initiator": "initiator", "recipient": "recipient", "receiver": "recipient"}
"""`receiver` stands in the examples of RFC 4235."""
_OURS = frozenset({"", DIALOG_INFO})
_ROOTS = frozenset({f"{{{DIALOG_INFO}}}dialog-info", "dialog-info"})
"""Some publishers leave the namespace out."""
_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'
_HAS_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_REPLACES = ("call-id", "local-tag", "remote-tag")


class PublishedDialogs(NamedTuple):
    """One publication's document; `scope` is short and the same for its whole life."""

    body: bytes
    scope: str


class Selection(NamedTuple):
    """The dialog that a watcher wants, or those of one INVITE (section 3.2)."""

    call_id: str
    local_tag: str
    remote_tag: str | None
    """None: any."""


class SingleCall(NamedTuple):
    """What a document says of the only call that it has."""

    key: str
    """Of the call, whatever its leg."""
    leg: str | None
    """None: any."""
    over: bool
    """Whether it has ended."""


@dataclass(frozen=True, slots=True)
class _Dialog:
    id: str
    call_id: str | None
    tags: tuple[str | None, str | None]
    """Local and remote."""
    state: int
    element: etree._Element
    held: list[etree._Element] = field(compare=False)
    """What is below it: lxml makes the object of an element, and its name, anew where nobody holds it."""

    @property
    def line(self) -> tuple[str, str | None]:
        """What all legs of a forked call share."""
        return self.id, self.call_id

    @property
    def leg(self) -> tuple[str | None, str | None] | None:
        """Which leg of the call; None where it does not know all its tags yet, and so may be any."""
        return None if None in self.tags else self.tags

    def is_same(self, other: "_Dialog") -> bool:
        """Whether they are one dialog, as far as one can tell."""
        return (
            self.call_id is not None
            and self.line == other.line
            and (self.leg == other.leg or None in {self.leg, other.leg})
        )


class _Document(NamedTuple):
    partial: bool
    dialogs: list[_Dialog]


def check(body: bytes) -> str | None:
    """Why the body cannot be published, None where it can: only what composition needs is asked for."""
    try:
        _read(body)
    except DocumentError as error:
        return f"Dialog info: {error}"
    return None


def compose(
    entity: str,
    documents: Sequence[PublishedDialogs],
    *,
    only: Selection | None = None,
    single: bool = False,
    line: bool = False,
) -> VersionedDocument:
    """The document that watchers of `entity` get, always with the full state; `documents` has the newest state first.

    `only`: what is asked for. `single`: only the most interesting dialog. `line`: the remote target is the remote
    identity, so that another phone of a shared line reaches the far end through the proxy. Documents that cannot be
    read are left out.
    """
    read: list[tuple[_Dialog, str]] = []
    for number, dialog in _furthest(documents):
        read.append((dialog, documents[number].scope))
    read.sort(key=lambda item: _INTEREST[item[0].state])
    named = [
        (dialog, name)
        for (dialog, _), name in zip(read, _names(read), strict=True)
        if only is None or _is_wanted(dialog, only)
    ]
    return _write(entity, named[:1] if single else named, line=line)


def states(documents: Sequence[PublishedDialogs]) -> frozenset[int]:
    """The states of the dialogs that `compose` shows: TRYING, PROCEEDING, EARLY, CONFIRMED, TERMINATED."""
    return frozenset(dialog.state for _, dialog in _furthest(documents))


def merge(held: bytes, published: bytes, *, line: bool = False) -> bytes:
    """The body that a publication has after a change of it: `published`, with what has to stay of `held`.

    A partial document changes the dialogs that it names and no others; those that have ended go. No dialog returns to
    a state that it has left. `line`: a full document without a dialog, as phones of a shared line send when they
    start, is taken for a partial one.
    """
    try:
        before, after = _read(held), _read(published)
    except DocumentError:
        return published
    behind = {number for number, dialog in enumerate(after.dialogs) if _is_behind(dialog, before.dialogs)}
    stay: list[_Dialog] = []
    if after.partial or (line and not after.dialogs):
        named = {dialog.id for dialog in after.dialogs}
        stay = [dialog for dialog in before.dialogs if dialog.state != TERMINATED and dialog.id not in named]
    if not behind and not stay:
        return published
    dialogs = [
        next(held for held in before.dialogs if held.is_same(dialog) and held.state > dialog.state)
        if number in behind
        else dialog
        for number, dialog in enumerate(after.dialogs)
    ]
    body = _write("", [(dialog, dialog.id) for dialog in [*dialogs, *stay][:MAX_DIALOGS]]).with_version(0)
    return body if len(body) <= max(MAX_CARRIED, len(published)) else published


def remains(held: bytes | None, published: bytes | None) -> bytes | None:
    """What is remembered for a while of a publication that is removed: the calls that it said have ended.

    `published` is the body of the removal, `held` what the publication was. None: nothing is to be remembered.
    """
    ended: list[_Dialog] = []
    for body in (published, held):
        try:
            dialogs = _read(body).dialogs if body is not None else []
        except DocumentError:
            continue
        for dialog in dialogs:
            over = dialog.state == TERMINATED and dialog.call_id is not None
            if over and not any(dialog.is_same(known) for known in ended):
                ended.append(dialog)
    if not ended:
        return None
    return _write("", [(dialog, dialog.id) for dialog in ended[:MAX_DIALOGS]]).with_version(0)


def is_provisional(body: bytes) -> bool:
    """Whether it shows calls that are being set up and none that is answered: it holds for a short while only."""
    try:
        states = {dialog.state for dialog in _read(body).dialogs}
    except DocumentError:
        return False
    return CONFIRMED not in states and not states.isdisjoint({TRYING, PROCEEDING, EARLY})


def single_call(body: bytes) -> SingleCall | None:
    """The call that a document is about; None where there are several, or none, or one without a Call-ID."""
    try:
        dialogs = _read(body).dialogs
    except DocumentError:
        return None
    if not dialogs or dialogs[0].call_id is None or len({dialog.line for dialog in dialogs}) > 1:
        return None
    over = all(dialog.state == TERMINATED for dialog in dialogs)
    if len(dialogs) > 1 and not over:
        return None
    leg = dialogs[0].leg if len(dialogs) == 1 else None
    return SingleCall(_digest(*dialogs[0].line), None if leg is None else _digest(*leg), over)


def _read(body: bytes) -> _Document:
    root = read_document(body)
    if root.tag not in _ROOTS:
        raise DocumentError("the root element is not dialog-info")
    dialogs: list[_Dialog] = []
    places: dict[object, int] = {}
    for element in _children(root, "dialog"):
        below = list(element.iter())
        call_id = element.get("call-id") or None
        name = element.get("id") or call_id
        if name is None:
            raise DocumentError("a dialog without an id")
        state = _child(element, "state")
        if state is None:
            raise DocumentError("a dialog without a state")
        tags = (element.get("local-tag") or None, element.get("remote-tag") or None)
        dialog = _Dialog(name, call_id, tags, _rank(state), element, below)
        place = len(dialogs) if call_id is None else places.setdefault((dialog.line, dialog.leg), len(dialogs))
        if place == len(dialogs):
            dialogs.append(dialog)
        elif dialog.state > dialogs[place].state:
            dialogs[place] = dialog
        if len(dialogs) > MAX_DIALOGS:
            raise DocumentError(f"more than {MAX_DIALOGS} dialogs")
    return _Document((root.get("state") or "").strip().lower() == "partial", dialogs)


def _rank(state: etree._Element) -> int:
    """How far a dialog is; a word that is not in RFC 4235 (`committed`, `active`) is that of a call that is up."""
    word = (state.text or "").strip().lower()
    return _STATES.index(word) if word in _STATES else CONFIRMED


def _is_behind(dialog: _Dialog, before: Sequence[_Dialog]) -> bool:
    same = [held.state for held in before if held.is_same(dialog)]
    return bool(same) and min(same) > dialog.state


# composing


def _is_wanted(dialog: _Dialog, only: Selection) -> bool:
    local, remote = dialog.tags
    return dialog.call_id == only.call_id and local == only.local_tag and only.remote_tag in {None, remote}


def _furthest(documents: Sequence[PublishedDialogs]) -> list[tuple[int, _Dialog]]:
    """The dialogs of all documents, each once, with the number of its document.

    Documents are believed about their own dialogs; one dialog in several documents is that of the furthest state, and
    among equals that of the first document. A dialog that does not know all its tags may be any leg of its call.
    """
    groups: dict[object, list[tuple[int, _Dialog]]] = {}
    order: dict[int, int] = {}
    for number, document in enumerate(documents):
        try:
            dialogs = _read(document.body).dialogs
        except DocumentError:
            continue
        for place, dialog in enumerate(dialogs):
            order[id(dialog)] = len(order)
            key: object = (number, place) if dialog.call_id is None else dialog.line
            groups.setdefault(key, []).append((number, dialog))
    kept = [item for group in groups.values() for item in _furthest_of(group)]
    kept.sort(key=lambda item: order[id(item[1])])
    return kept


def _furthest_of(group: list[tuple[int, _Dialog]]) -> Iterable[tuple[int, _Dialog]]:
    """Those of one call. Somebody may publish many, so no two are compared with each other."""
    if len({number for number, _ in group}) == 1:
        return group
    any_leg, known_legs = _Furthest(), _Furthest()
    for number, dialog in group:
        (any_leg if dialog.leg is None else known_legs).add(number, dialog.state)
    kept: dict[object, tuple[int, _Dialog]] = {}
    for number, dialog in group:
        if dialog.leg is None:
            is_behind = known_legs.elsewhere(number) >= dialog.state
        else:
            is_behind = any_leg.elsewhere(number) > dialog.state
        if not is_behind and (dialog.leg not in kept or dialog.state > kept[dialog.leg][1].state):
            kept[dialog.leg] = (number, dialog)
    return kept.values()


class _Furthest:
    """The furthest states that documents have of something, as far as is needed to leave any one document out."""

    def __init__(self) -> None:
        self._best: list[tuple[int, int]] = []

    def add(self, number: int, state: int) -> None:
        if len(self._best) == 2 and state < self._best[1][0]:
            return
        found = {document: rank for rank, document in self._best}
        found[number] = max(found.get(number, state), state)
        self._best = sorted(((rank, document) for document, rank in found.items()), reverse=True)[:2]

    def elsewhere(self, number: int) -> int:
        """The furthest state in any other document, -1 for none."""
        return next((rank for rank, document in self._best if document != number), -1)


def _names(dialogs: Sequence[tuple[_Dialog, str]]) -> list[str]:
    """The ids that watchers see: all those that several dialogs have get an ending that is the dialog's own."""
    count = Counter(dialog.id for dialog, _ in dialogs)
    names: list[str] = []
    seen: set[str] = set()
    for dialog, scope in dialogs:
        name = dialog.id
        if count[name] > 1:
            name = f"{name}.{scope if dialog.call_id is None else _digest(dialog.call_id, *dialog.tags)}"
        wanted, repeated = name, 1
        while name in seen:
            repeated += 1
            name = f"{wanted}.{repeated}"
        seen.add(name)
        names.append(name)
    return names


def _digest(*parts: str | None) -> str:
    return hashlib.blake2b("\0".join(part or "" for part in parts).encode(), digest_size=8).hexdigest()


# writing


def _write(entity: str, dialogs: Iterable[tuple[_Dialog, str]], *, line: bool = False) -> VersionedDocument:
    # lxml takes None for the default namespace; its stubs do not know
    nsmap = cast("dict[str, str]", {None: DIALOG_INFO})
    root = etree.Element(
        f"{{{DIALOG_INFO}}}dialog-info", {"version": "", "state": "full", "entity": entity}, nsmap=nsmap
    )
    for dialog, name in dialogs:
        _write_dialog(root, dialog, name, line=line)
    body = _DECLARATION + etree.tostring(root, encoding="UTF-8")
    mark = b' version="'
    return VersionedDocument(body, body.index(mark, len(_DECLARATION)) + len(mark))


def _write_dialog(root: etree._Element, dialog: _Dialog, name: str, *, line: bool) -> None:
    published = dialog.element
    attributes = {
        "id": name,
        "call-id": dialog.call_id,
        "local-tag": dialog.tags[0],
        "remote-tag": dialog.tags[1],
        "direction": _DIRECTIONS.get((published.get("direction") or "").strip().lower()),
    }
    element = _add(root, "dialog", {key: value for key, value in attributes.items() if value is not None})
    _write_state(element, dialog)
    _write_number(element, published, "duration")
    replaces = _child(published, "replaces")
    if replaces is not None and all(replaces.get(key) is not None for key in _REPLACES):
        _add(element, "replaces", {key: replaces.get(key, "") for key in _REPLACES})
    _write_name(element, published, "referred-by")
    route_set = _child(published, "route-set")
    hops = [] if route_set is None else [hop.text or "" for hop in _children(route_set, "hop")]
    if hops:
        routes = _add(element, "route-set", {})
        for hop in hops:
            _add(routes, "hop", {}).text = hop
    for side in ("local", "remote"):
        participant = _child(published, side)
        if participant is not None:
            _write_participant(element, participant, side, target_is_identity=line and side == "remote")
    _copy_extensions(element, published)


def _write_state(element: etree._Element, dialog: _Dialog) -> None:
    published = _child(dialog.element, "state")
    state = _add(element, "state", {})
    state.text = _STATES[dialog.state]
    if published is None:
        return
    event, code = (published.get("event") or "").strip().lower(), (published.get("code") or "").strip()
    if event in _EVENTS:
        state.set("event", event)
    if code.isascii() and code.isdigit() and len(code) == 3 and 100 <= int(code) <= 699:
        state.set("code", code)


def _write_participant(
    dialog: etree._Element, published: etree._Element, side: str, *, target_is_identity: bool
) -> None:
    participant = _add(dialog, side, {})
    identity = _write_name(participant, published, "identity")
    target = _child(published, "target")
    if target is not None:
        uri = identity if target_is_identity and identity else target.get("uri") or ""
        written = _add(participant, "target", {"uri": uri})
        for parameter in _children(target, "param"):
            name, value = parameter.get("pname"), parameter.get("pval", parameter.get("pvalue"))
            if name and value is not None:
                _add(written, "param", {"pname": name, "pval": _unquote(value)})
    _write_number(participant, published, "cseq")
    _copy_extensions(participant, published)


def _write_name(parent: etree._Element, published: etree._Element, name: str) -> str:
    """The URI that was written, "" for none."""
    found = _child(published, name)
    uri = _uri(found.text or "") if found is not None else ""
    if found is not None and uri:
        display = found.get("display")
        _add(parent, name, {} if display is None else {"display": display}).text = uri
    return uri


def _write_number(parent: etree._Element, published: etree._Element, name: str) -> None:
    found = _child(published, name)
    digits = (found.text or "").strip() if found is not None else ""
    if digits.isascii() and digits.isdigit() and len(digits) <= 18:
        _add(parent, name, {}).text = digits


def _copy_extensions(element: etree._Element, published: etree._Element) -> None:
    for child in published.iterchildren(tag=etree.Element):
        if namespace(child) not in _OURS:
            copy_below(element, child).tail = None


def _uri(text: str) -> str:
    text = text.strip()
    if text.endswith(">") and "<" in text:
        text = text[text.rindex("<") + 1 : -1].strip()
    if text and not _HAS_SCHEME.match(text):
        text = f"sip:{text}"
    return quote(_BAD_PERCENT.sub("%25", text), safe="%/:=&?~#+!$,;'@()*[]-_.")


def _unquote(value: str) -> str:
    """The value of a parameter without its quotes (section 4.1.6.2)."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        return _QUOTED_PAIR.sub(r"\1", value[1:-1])
    return value


def _add(parent: etree._Element, name: str, attributes: dict[str, str]) -> etree._Element:
    return etree.SubElement(parent, f"{{{DIALOG_INFO}}}{name}", attributes)


def _children(element: etree._Element, name: str) -> list[etree._Element]:
    ours = f"{{{DIALOG_INFO}}}{name}"
    return [child for child in element if child.tag in (ours, name)]


def _child(element: etree._Element, name: str) -> etree._Element | None:
    ours = f"{{{DIALOG_INFO}}}{name}"
    for child in element:
        if child.tag in (ours, name):
            return child
    return None
