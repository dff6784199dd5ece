"""REGISTER: the registrar's decisions for small sites (RFC 3261 section 10.3).

`path` and `outbound` are not supported here, which no client is refused for: a Path is kept and not answered, reg-id
is kept and answered, and nothing is ever required of a client.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from math import ceil

from presence_core.domain import refusals
from presence_core.domain.common_checks import find_resource
from presence_core.domain.policy import Policy
from vedette.identity import presentity_hash, request_key
from vedette.records import write_flow
from vedette.rpc.contract import RegisterCall, Reply
from vedette.rules.addresses import same_uri
from vedette.sip.address import Address, parse_address
from vedette.sip.errors import SipError
from vedette.sip.grammar import parse_delta_seconds, quote, split_list
from vedette.sip.route import route_in_dialog
from vedette.sip.uri import parse_uri, split_aor

NEVER_TOO_BRIEF = 3600
"""Seconds: an hour or more is never refused (section 10.3 step 7)."""
MAX_CONTACT = 1024
"""Characters of a Contact."""
MAX_CHANGES = 64
"""Contacts in one REGISTER."""
MAX_ENDED = 256
"""Bindings of an address-of-record that are over and not yet swept."""

_Q = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", re.ASCII)
_MADE_BY_A_DEVICE = re.compile(r"(?=[^@]*[0-9])(?=[^@]*[A-Za-z])[^@]{8,}", re.ASCII)
"""The user part of a Contact that no two devices have: long, letters and digits (baresip's `bob-0x5563ee366da0`)."""


@dataclass(frozen=True, slots=True)
class ContactChange:
    """What one Contact of a REGISTER asks for."""

    uri: str
    seconds: int
    """0 removes."""
    q: float | None
    instance: str
    """`+sip.instance` without its quotes; "": none."""
    reg_id: int
    """0: none."""


@dataclass(frozen=True, slots=True)
class RegisterCommand:
    """What a REGISTER asks for; without a change it fetches the bindings."""

    presentity_hash: int
    """Of the address-of-record."""
    aor: str
    key: bytes
    callid: str
    cseq: int
    changes: tuple[ContactChange, ...]
    removes_all: bool
    """`Contact: *`"""
    path: str
    user_agent: str
    received: str
    """Where it came from, as a URI."""
    socket: str
    """Where it was received: transport:host:port."""
    socket_info: str
    edge_instance: str
    edge_address: str


@dataclass(frozen=True, slots=True)
class Binding:
    """A row of the table `location`, with its names; `expires` and `last_modified` are Postgres's time, in seconds.

    One that was removed, or whose time is over, is kept for a while: a late copy of a request revives nothing.
    """

    ruid: str
    contact: str
    expires: float
    q: float | None
    callid: str
    cseq: int
    last_key: bytes
    instance: str
    reg_id: int
    path: str
    user_agent: str
    received: str
    socket: str
    socket_info: str
    edge_instance: str
    edge_address: str
    last_modified: float
    device: str = ""
    """The user part of the Contact, where only this device has it."""
    follows: str | None = None
    """Whose dialogs have yet to follow it: "": those of its instance or device; else those of this Contact, too.

    None: there is nothing to do.
    """


@dataclass(frozen=True, slots=True)
class RegisterVerdict:
    """What became of a REGISTER: `done`, `replayed` (a copy), `out_of_order` or `too_many`."""

    verdict: str
    now: float
    bindings: tuple[Binding, ...] = ()
    """All that there are now, the best first."""
    written: tuple[Binding, ...] = ()
    """The rows that have to be stored."""


def plan_register(call: RegisterCall, policy: Policy) -> RegisterCommand | Reply:
    """The command, or the answer to a REGISTER that changes nothing whatever is stored: 400, 403, 404, 416, 423."""
    aor = _find_aor(call, policy)
    if isinstance(aor, Reply):
        return aor
    if call.registrant and (call.registrant.lower() if policy.sip_uri_match else call.registrant) != aor:
        return refusals.NOT_YOUR_REGISTRATION
    changes = _changes(call, policy)
    if isinstance(changes, Reply):
        return changes
    contacts, removes_all = changes
    flow = call.flow
    host = f"[{flow.host}]" if ":" in flow.host else flow.host
    return RegisterCommand(
        presentity_hash=presentity_hash(aor),
        aor=aor,
        key=request_key(
            policy.secret,
            ("REGISTER", call.request_uri, "", call.call_id, str(call.cseq), call.from_tag, call.client_branch),
        ),
        callid=call.call_id,
        cseq=call.cseq,
        changes=tuple(contacts),
        removes_all=removes_all,
        path=", ".join(call.path),
        user_agent=call.user_agent[:255],
        received=f"sip:{host}:{flow.port};transport={flow.transport}",
        socket=f"{flow.transport}:{call.local_address}",
        socket_info=write_flow(flow),
        edge_instance=call.edge_instance,
        edge_address=call.edge_address,
    )


def judge_register(command: RegisterCommand, held: Sequence[Binding], now: float, limit: int) -> RegisterVerdict:
    """What becomes of it, given all rows of its address-of-record; all of it or nothing (section 10.3 step 7).

    `limit`: how many bindings there may be; 0: any number.
    """
    if any(row.last_key == command.key for row in held):
        return RegisterVerdict("replayed", now, _alive(held, now))
    rows = {row.ruid: row for row in held}
    written: dict[str, Binding] = {}
    touched: list[Binding] = []
    for place, change in enumerate(command.changes):
        row = _bound(list(rows.values()), change, now)
        if row is not None and row.ruid not in written:
            touched.append(row)
        if change.seconds:
            row = _bind(command, change, place, row, held, now)
            rows[row.ruid] = written[row.ruid] = row
        elif row is not None:
            rows[row.ruid] = written[row.ruid] = _end(command, row, now)
    if command.removes_all:
        touched = list(_alive(held, now))
        written = {row.ruid: _end(command, row, now) for row in touched}
        rows |= written
    if any(row.callid == command.callid and row.cseq >= command.cseq for row in touched):
        return RegisterVerdict("out_of_order", now)
    bindings = _alive(rows.values(), now)
    too_many = len(bindings) > limit or len(rows) > limit + MAX_ENDED
    if limit and too_many and len(rows) > len(held):
        return RegisterVerdict("too_many", now)
    return RegisterVerdict("done", now, bindings, tuple(written.values()))


def conclude_register(verdict: RegisterVerdict) -> Reply:
    """The answer: 200 with every binding and what is left of its time, 403 or 500."""
    match verdict.verdict:
        case "out_of_order":
            return refusals.OUT_OF_ORDER
        case "too_many":
            return refusals.TOO_MANY_CONTACTS
    return Reply(200, headers=[("Contact", _written(row, verdict.now)) for row in verdict.bindings])


def _find_aor(call: RegisterCall, policy: Policy) -> str | Reply:
    """The address-of-record in To; 404 where it or the Request-URI is of no domain served here (steps 1 and 5).

    A client may also write the address of the edge into the Request-URI.
    """
    try:
        host = parse_uri(call.request_uri).host.lower().rstrip(".")
    except SipError as error:
        return refusals.malformed(error)
    edge = call.local_address.rpartition(":")[0].lower()
    if policy.domains and host not in policy.domains and host != edge:
        return refusals.not_found()
    return find_resource(call.to_uri, policy)


def _changes(call: RegisterCall, policy: Policy) -> tuple[list[ContactChange], bool] | Reply:
    """The contacts, or that all are removed (`*`, step 6)."""
    values = [item for row in call.contacts for item in split_list(row)]
    if "*" in values:
        if len(values) > 1 or call.expires is None or call.expires.strip("0") or not call.expires:
            return refusals.bad_request("Contact * goes with Expires 0 and nothing else")
        return [], True
    if len(values) > MAX_CHANGES:
        return refusals.TOO_MANY_CONTACTS
    changes: list[ContactChange] = []
    for value in values:
        change = _change(value, call.expires, policy)
        if isinstance(change, Reply):
            return change
        changes.append(change)
    return changes, False


def _change(value: str, expires: str | None, policy: Policy) -> ContactChange | Reply:
    try:
        contact = parse_address(value, "Contact")
        route_in_dialog(contact.uri, [])
    except SipError as error:
        return refusals.bad_request(error.reason)
    if len(contact.uri) > MAX_CONTACT or not contact.uri.isprintable():
        return refusals.bad_request("Contact is too long")
    q, reg_id = contact.parameters.get("q"), contact.parameters.get("reg-id")
    if q is not None and not _Q.fullmatch(q):
        return refusals.bad_request("q of Contact is not between 0 and 1")
    if reg_id is not None and not (reg_id.isascii() and reg_id.isdigit() and 0 < int(reg_id[:11]) < 2**31):
        return refusals.bad_request("reg-id of Contact is not between 1 and 2147483647")
    seconds = _seconds(contact, expires, policy)
    if 0 < seconds < min(policy.min_expires_register, policy.max_expires_register, NEVER_TOO_BRIEF):
        return refusals.too_brief(min(policy.min_expires_register, policy.max_expires_register))
    return ContactChange(
        uri=contact.uri,
        seconds=min(seconds, policy.max_expires_register),
        q=None if q is None else float(q),
        instance=(contact.parameters.get("+sip.instance") or "")[:255],
        reg_id=int(reg_id or 0),
    )


def _seconds(contact: Address, header: str | None, policy: Policy) -> int:
    """The lifetime asked for: the Contact's, else the request's, else ours; what is no number counts as absent."""
    for text in (contact.parameters.get("expires"), header):
        if text is not None:
            try:
                return parse_delta_seconds(text, "Expires")
            except SipError:
                continue
    return policy.default_expires_register


def _bound(rows: Sequence[Binding], change: ContactChange, now: float) -> Binding | None:
    """The row that a Contact names: by its URI (RFC 3261 section 19.1.4), else by instance and reg-id (RFC 5626).

    Else one that is over, of that URI: a request that is older than its end is late.
    """
    alive = [row for row in rows if row.expires > now]
    same = next((row for row in alive if same_uri(row.contact, change.uri)), None)
    if same is None and change.instance and change.reg_id:
        named = (change.instance, change.reg_id)
        same = next((row for row in alive if (row.instance, row.reg_id) == named), None)
    if same is None:
        same = next((row for row in rows if row.expires <= now and same_uri(row.contact, change.uri)), None)
    return same


def _bind(
    command: RegisterCommand,
    change: ContactChange,
    place: int,
    row: Binding | None,
    held: Sequence[Binding],
    now: float,
) -> Binding:
    user = parse_uri(change.uri).user or ""
    is_own = user.lower() != split_aor(command.aor)[0].lower() and _MADE_BY_A_DEVICE.fullmatch(user)
    return Binding(
        ruid=row.ruid if row is not None else _ruid(command, place),
        contact=change.uri,
        expires=now + change.seconds,
        q=change.q,
        callid=command.callid,
        cseq=command.cseq,
        last_key=command.key,
        instance=change.instance,
        reg_id=change.reg_id,
        path=command.path,
        user_agent=command.user_agent,
        received=command.received,
        socket=command.socket,
        socket_info=command.socket_info,
        edge_instance=command.edge_instance,
        edge_address=command.edge_address,
        last_modified=now,
        device=user if is_own else "",
        follows=_follows(command, change, row, held, now),
    )


def _follows(
    command: RegisterCommand, change: ContactChange, row: Binding | None, held: Sequence[Binding], now: float
) -> str | None:
    """Which dialogs have to follow the binding: those of its device, as far as that is surely the same.

    Who registers with the Call-ID of a binding that was there is who made it (section 10.2.4): what came by that
    one's Contact may go by the new one. Behind a proxy (Path) the proxy has the flow, and knows of no other.
    """
    if command.path:
        return None
    if row is not None and row.expires > now and _is_reached_alike(row, command, change):
        return row.follows
    asked = [other.uri for other in command.changes if other.seconds and other is not change]
    before = [
        other
        for other in held
        if other.callid == command.callid and not any(same_uri(other.contact, uri) for uri in asked)
    ]
    return max(before, key=lambda other: other.last_modified).contact if before else ""


def _is_reached_alike(row: Binding, command: RegisterCommand, change: ContactChange) -> bool:
    """Whether the way to the client is what it was; a connection is one edge's, but any edge reaches a UDP client."""
    if (row.socket_info, row.contact) != (command.socket_info, change.uri):
        return False
    return row.socket_info.startswith("udp|") or row.edge_instance == command.edge_instance


def _ruid(command: RegisterCommand, place: int) -> str:
    return blake2b(command.key + place.to_bytes(2, "big"), digest_size=12).hexdigest()


def _end(command: RegisterCommand, row: Binding, now: float) -> Binding:
    return replace(
        row,
        expires=min(row.expires, now),
        callid=command.callid,
        cseq=command.cseq,
        last_key=command.key,
        last_modified=now,
        follows=None,
    )


def _alive(rows: Iterable[Binding], now: float) -> tuple[Binding, ...]:
    alive = [row for row in rows if row.expires > now]
    return tuple(sorted(alive, key=lambda row: (-(1.0 if row.q is None else row.q), -row.last_modified, row.ruid)))


def _written(row: Binding, now: float) -> str:
    """A Contact of the answer: the seconds that are left, never 0 for what is there."""
    text = f"<{row.contact}>;expires={max(1, ceil(row.expires - now))}"
    if row.q is not None:
        text += f";q={row.q:.3f}".rstrip("0").rstrip(".")
    if row.instance:
        text += f";+sip.instance={quote(row.instance)}"
    return text + (f";reg-id={row.reg_id}" if row.reg_id else "")
