"""SUBSCRIBE: the notifier's decisions (RFC 6665 section 4.2.1, RFC 3261 section 12)."""

from collections.abc import Sequence
from typing import NamedTuple

from presence_core.domain import refusals
from presence_core.domain.common_checks import call_key, find_event, find_resource, grant
from presence_core.domain.local_contact import local_contact
from presence_core.domain.policy import Policy
from vedette.events.package import EventPackage, WatcherInfoPackage
from vedette.events.registry import PACKAGES
from vedette.identity import parse_to_tag, presentity_hash, to_tag
from vedette.records import DialogRecord
from vedette.rpc.contract import Reply, SubscribeCall
from vedette.rules.ruling import ACTIVE, PENDING
from vedette.sip.address import parse_address
from vedette.sip.errors import SipError
from vedette.sip.flow import Flow
from vedette.sip.grammar import split_list
from vedette.sip.media_type import negotiate
from vedette.sip.route import next_hop_in_dialog
from vedette.sip.uri import SipUri, address_of_record, parse_uri, split_aor


class SubscribeCommand(NamedTuple):
    """What the database has to do for one SUBSCRIBE; names as the columns of `active_watchers`."""

    presentity_hash: int
    presentity_uri: str | None
    """None in a dialog, which knows it."""
    event: str
    event_id: str
    key: bytes
    dialog_id: bytes
    in_dialog: bool
    callid: str
    to_tag: str
    from_tag: str
    cseq: int
    expires: int
    watcher_username: str
    watcher_domain: str
    to_value: str
    from_value: str
    contact: str
    record_route: list[str]
    local_contact: str
    accept: str
    user_agent: str
    sip_instance: str
    edge_instance: str
    edge_address: str
    flow: Flow
    refusal: Reply | None = None
    """Another fault of the request: the answer if its dialog is there, and then nothing is changed."""
    status: int = ACTIVE
    """What was decided about the watcher of a new dialog, as `judge` has it."""
    reason: str = ""
    rules: int = 0
    """The version of the rules that decided it."""
    proved: bool = False
    """Whether it is known who watches: then a dialog of another watcher is not his (RFC 3261 section 22.2)."""


class SubscribeVerdict(NamedTuple):
    """What the database says of one SUBSCRIBE: `subscribe_batch_v3` has the words.

    For a dialog that was written, `record` is what it is now.
    """

    verdict: str
    granted: int
    record: DialogRecord | None = None


def plan_subscribe(call: SubscribeCall, policy: Policy) -> SubscribeCommand | Reply:
    """The command for the database, or the answer where none is needed.

    In a dialog the database has the first word (481), so other faults travel with the command; they are answers of
    their own for a new subscription.
    """
    found = find_event(call.event)
    on_line = not isinstance(found, Reply) and found[1].watches_line
    place = _find_dialog(call) if call.to_tag else _name_dialog(call, policy, on_line=on_line)
    if isinstance(place, Reply):
        return place
    if isinstance(found, Reply):
        return found
    event, package = found
    watcher = _watcher(call)
    contact = _contact(call)
    granted = grant(call.expires, package, policy, policy.max_expires_subscribe)
    accept = _accept(call, package)
    if isinstance(accept, str) and package.part_of is not None:
        accept += package.part_of(event)
    body = _unwanted_body(call)
    refusal = None
    for fault in (watcher, contact, granted, accept, body):
        if isinstance(fault, Reply):
            refusal = fault
            break
    if refusal is not None and not place.in_dialog:
        return refusal
    key = call_key("SUBSCRIBE", call, policy)
    dialog_id = place.dialog_id or key
    username, domain = watcher if isinstance(watcher, tuple) else ("", "")
    target, instance, next_hop = ("", "", None) if isinstance(contact, Reply) else contact
    return SubscribeCommand(
        presentity_hash=place.presentity_hash,
        presentity_uri=place.presentity_uri,
        event=package.name,
        event_id=event.id,
        key=key,
        dialog_id=dialog_id,
        in_dialog=place.in_dialog,
        callid=call.call_id,
        to_tag=call.to_tag or to_tag(policy.to_tag_pref, place.presentity_hash, dialog_id),
        from_tag=call.from_tag,
        cseq=call.cseq,
        expires=granted if isinstance(granted, int) else 0,
        watcher_username=username,
        watcher_domain=domain,
        to_value=call.to_value,
        from_value=call.from_value,
        contact=target,
        record_route=call.record_route,
        local_contact=local_contact(call, next_hop, place.presentity_hash, policy.contact_user),
        accept=accept if isinstance(accept, str) else "",
        user_agent=call.user_agent[:255],
        sip_instance=instance,
        edge_instance=call.edge_instance,
        edge_address=call.edge_address,
        flow=call.flow,
        refusal=refusal,
        proved=bool(call.watcher),
    )


def in_turns(commands: Sequence[SubscribeCommand]) -> list[list[int]]:
    """Which commands may go into one database call, by their indexes: a call for each turn, one after the other.

    Of two new dialogs of one phone (`+sip.instance`) for the same state the second takes the place of the first,
    which has to be stored by then.
    """
    turns: list[list[int]] = [[]]
    earlier: dict[tuple[str | None, ...], int] = {}
    for index, command in enumerate(commands):
        turn = 0
        if command.sip_instance and command.expires and not command.in_dialog:
            phone = (
                command.presentity_uri,
                command.event,
                command.event_id,
                command.watcher_username,
                command.watcher_domain,
                command.sip_instance,
            )
            turn = earlier.get(phone, 0)
            earlier[phone] = turn + 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(index)
    return turns


def new_watchers(commands: Sequence[SubscribeCommand]) -> list[int]:
    """The hashes of the watchers that new dialogs are for, in order: what is locked before they are counted."""
    watchers = {
        (command.watcher_username, command.watcher_domain)
        for command in commands
        if not command.in_dialog and (command.expires or command.status == PENDING)
    }
    return sorted({presentity_hash(f"{username}@{domain}") for username, domain in watchers})


def conclude_subscribe(command: SubscribeCommand, verdict: SubscribeVerdict, policy: Policy) -> Reply:
    """The answer: 200 or 202 with Expires and Contact, 481, 403, 500, or the fault that the command carried.

    202 says no more than 200 (RFC 6665 section 8.3.1); watcher information gets it as the original has it. Who has to
    wait for a decision gets 200, too.
    """
    match verdict.verdict:
        case "unmatched":
            return refusals.NO_SUBSCRIPTION
        case "not_yours":
            return refusals.NOT_YOUR_SUBSCRIPTION
        case "other_usage":
            return refusals.OTHER_USAGE
        case "out_of_order":
            return refusals.OUT_OF_ORDER
        case "blocked":
            return refusals.NOT_ALLOWED_TO_WATCH
        case "unjudged":
            return refusals.UNAVAILABLE
        case "too_many_watchers":
            return refusals.TOO_MANY_WATCHERS
        case "too_many_subscriptions":
            return refusals.TOO_MANY_SUBSCRIPTIONS
        case "withheld" if command.refusal is not None:
            return command.refusal
    legacy = not policy.always_200 and isinstance(PACKAGES.get(command.event), WatcherInfoPackage)
    return Reply(
        202 if legacy else 200,
        to_tag=command.to_tag,
        headers=[("Expires", str(verdict.granted)), ("Contact", f"<{command.local_contact}>")],
    )


class _Place(NamedTuple):
    """Where the subscription lives: a dialog that exists, or a presentity with a dialog to be made."""

    presentity_hash: int
    presentity_uri: str | None
    dialog_id: bytes
    in_dialog: bool


def _find_dialog(call: SubscribeCall) -> _Place | Reply:
    named = parse_to_tag(call.to_tag)
    if named is None:
        return refusals.NO_SUBSCRIPTION
    return _Place(named[0], None, named[1], in_dialog=True)


def _name_dialog(call: SubscribeCall, policy: Policy, *, on_line: bool) -> _Place | Reply:
    uri = call.request_uri
    if on_line:
        line = _line(call)
        if isinstance(line, Reply):
            return line
        uri = line
    resource = find_resource(uri, policy)
    if isinstance(resource, Reply):
        return resource
    return _Place(presentity_hash(resource), resource, b"", in_dialog=False)


def _line(call: SubscribeCall) -> str | Reply:
    """The shared line that a phone belongs to: the user of its Contact in the domain of its From."""
    contact = _contact(call)
    if isinstance(contact, Reply):
        return contact
    try:
        _, domain = split_aor(address_of_record(call.from_uri))
        user = parse_uri(contact.target).user
    except SipError as error:
        return refusals.malformed(error)
    return f"sip:{user}@{domain}" if user else f"sip:{domain}"


def _watcher(call: SubscribeCall) -> tuple[str, str] | Reply:
    try:
        return split_aor(call.watcher or address_of_record(call.from_uri))
    except SipError:
        # A From with a scheme of its own is no fault (RFC 4475 section 3.3.3); it just names nobody here.
        return ("", call.from_uri[:255])


class _Contact(NamedTuple):
    """Where the watcher is."""

    target: str
    """A URI."""
    instance: str
    """`+sip.instance`; "" where there is none."""
    next_hop: SipUri


def _contact(call: SubscribeCall) -> _Contact | Reply:
    """The one Contact, whose URI we can send to (RFC 3261 section 12.1.1)."""
    values = [item for row in call.contacts for item in split_list(row)]
    if len(values) != 1 or values[0].strip() == "*":
        return refusals.bad_request("SUBSCRIBE needs exactly one Contact")
    try:
        contact = parse_address(values[0], "Contact")
        next_hop = next_hop_in_dialog(contact.uri, call.record_route)
    except SipError as error:
        return refusals.bad_request(error.reason)
    return _Contact(contact.uri, contact.parameters.get("+sip.instance") or "", next_hop)


def _accept(call: SubscribeCall, package: EventPackage) -> str | Reply:
    try:
        chosen = negotiate(call.accept, package.notify_types)
    except SipError as error:
        return refusals.malformed(error)
    return refusals.not_acceptable(package) if chosen is None else chosen


def _unwanted_body(call: SubscribeCall) -> Reply | None:
    """415 for a body, unless its sender can do without our reading it (RFC 3261 section 20.11)."""
    if not call.body or "handling=optional" in (call.content_disposition or "").replace(" ", "").lower():
        return None
    return refusals.unsupported_type(())
