"""Checks that PUBLISH and SUBSCRIBE share: resource, event, lifetime."""

from presence_core.domain import refusals
from presence_core.domain.policy import Policy
from vedette.events.package import EventPackage
from vedette.events.registry import package_of
from vedette.identity import request_key
from vedette.rpc.contract import PublishCall, Reply, SubscribeCall
from vedette.sip.errors import SipError
from vedette.sip.event_header import EventHeader, parse_event
from vedette.sip.grammar import parse_delta_seconds
from vedette.sip.uri import address_of_record, split_aor


def find_resource(request_uri: str, policy: Policy) -> str | Reply:
    """The address-of-record that the Request-URI names, or 404 (not ours), 416, 400."""
    try:
        aor = address_of_record(request_uri)
    except SipError as error:
        return refusals.malformed(error)
    user, domain = split_aor(aor)
    if not user or (policy.domains and domain not in policy.domains):
        return refusals.not_found()
    return aor.lower() if policy.sip_uri_match else aor


def find_event(value: str | None) -> tuple[EventHeader, EventPackage] | Reply:
    """The event and its package, or 489 (none, unknown: RFC 6665 section 8.3.2), 400 (malformed)."""
    if value is None:
        return refusals.bad_event()
    try:
        event = parse_event(value)
    except SipError as error:
        return refusals.malformed(error)
    package = package_of(event)
    return refusals.bad_event() if package is None else (event, package)


def grant(asked: str | None, package: EventPackage, policy: Policy, longest: int) -> int | Reply:
    """The seconds granted: never more than `longest`, 0 is always taken, or 423, or 400 for no number.

    An hour or more is never too brief (RFC 6665 section 4.2.1.1), nor is what is granted at most: a client that asks
    again for what it got is not refused. With `min_expires_action=2` what is too brief is
    raised, which the RFCs do not allow and some phones need.
    """
    if asked is None:
        return min(package.default_expires, longest)
    try:
        seconds = parse_delta_seconds(asked, "Expires")
    except SipError as error:
        return refusals.malformed(error)
    shortest = min(policy.min_expires, longest)
    if 0 < seconds < min(shortest, 3600):
        if not policy.raise_brief:
            return refusals.too_brief(shortest)
        seconds = shortest
    return min(seconds, longest)


def call_key(method: str, call: PublishCall | SubscribeCall, policy: Policy) -> bytes:
    """The key of the request: the same for every copy of it, however it travelled (invariant 2)."""
    return request_key(
        policy.secret,
        (
            method,
            call.request_uri,
            call.event or "",
            call.call_id,
            str(call.cseq),
            call.from_tag,
            call.client_branch,
        ),
    )
