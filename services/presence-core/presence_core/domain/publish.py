"""PUBLISH: the event state compositor's decisions (RFC 3903 section 6)."""

from dataclasses import dataclass

from presence_core.domain import refusals
from presence_core.domain.common_checks import call_key, find_event, find_resource, grant
from presence_core.domain.policy import Policy
from vedette.documents.dialog_info import SingleCall
from vedette.events.package import EventPackage
from vedette.identity import Presentity, entity_tag, parse_entity_tag, presentity
from vedette.rpc.contract import PublishCall, Reply
from vedette.sip.address import parse_address
from vedette.sip.errors import SipError
from vedette.sip.grammar import is_token
from vedette.sip.media_type import parse_media_type

LINGER = 64
"""Seconds for which what remains of a removed publication is remembered: 64*T1 of a client, twice."""


@dataclass(frozen=True, slots=True)
class PublishCommand:
    """What the database has to do for one PUBLISH."""

    presentity: Presentity
    key: bytes
    publication_id: bytes
    sequence: int | None
    """The number that SIP-If-Match names; None for an initial PUBLISH."""
    expires: int
    """Seconds granted; 0 removes."""
    content_type: str | None
    body: bytes | None
    """With `expires` 0: what is remembered of the publication for LINGER seconds."""
    sender: str | None = None
    """The Contact, without parameters, of the watcher that is not told of the change."""
    refusal: Reply | None = None
    """Another fault of the request: the answer if its tag matches, and then nothing is changed."""
    call: SingleCall | None = None
    """The call that the body is about, where it is about one."""


@dataclass(frozen=True, slots=True)
class PublishVerdict:
    """What the database says of one PUBLISH: `publish_batch_v1` has the words."""

    verdict: str
    sequence: int
    granted: int
    at: float
    """Postgres's time, seconds since the epoch."""
    version: int | None = None
    """The presentity's new version; None where its state did not change."""
    watched: bool = False
    others: tuple[tuple[bytes, int], ...] = ()
    """The other publications that are alive, with the versions of their bodies."""


@dataclass(frozen=True, slots=True)
class _Content:
    content_type: str
    body: bytes


def plan_publish(call: PublishCall, policy: Policy) -> PublishCommand | Reply:
    """The command for the database, or the answer where none is needed.

    The checks run in the order of section 6, and the first that fails decides. SIP-If-Match comes before Expires and
    body but only the database can check it, so later faults travel with the command.
    """
    if call.to_tag:
        return refusals.NO_SUBSCRIPTION
    resource = find_resource(call.request_uri, policy)
    if isinstance(resource, Reply):
        return resource
    if not _may_publish(call.publisher, resource, policy):
        return refusals.NOT_YOUR_PRESENTITY
    found = find_event(call.event)
    if isinstance(found, Reply):
        return found
    _, package = found
    if not package.publish_types:
        return refusals.bad_event()
    tag = _entity_tag(call)
    if isinstance(tag, Reply):
        return tag
    key = call_key("PUBLISH", call, policy)
    publication_id, sequence = tag or (key, None)
    granted = grant(call.expires, package, policy, policy.max_expires_publish)
    content = _content(call, package)
    sender = _sender(call)
    refusal = next((fault for fault in (granted, content, sender) if isinstance(fault, Reply)), None)
    if sequence is None:
        if refusal is None and content is None:
            refusal = refusals.bad_request("A new publication needs a body")
        if refusal is not None:
            return refusal
        if granted == 0 and not (isinstance(content, _Content) and _remains(package, content)):
            return _ok(entity_tag(publication_id, 1), 0)
    if granted == 0 and package.succession is None:
        content = None
    return PublishCommand(
        presentity=presentity(resource, package.name),
        key=key,
        publication_id=publication_id,
        sequence=sequence,
        expires=0 if isinstance(granted, Reply) else granted,
        content_type=content.content_type if isinstance(content, _Content) else None,
        body=content.body if isinstance(content, _Content) else None,
        sender=sender if isinstance(sender, str) else None,
        refusal=refusal,
    )


def conclude_publish(command: PublishCommand, verdict: PublishVerdict, policy: Policy) -> Reply:
    """The answer: 200 with SIP-ETag and Expires, 412, 403, or the fault that the command carried.

    A lifetime is told `expires_offset` shorter than it is, but never as 0, which would say that it was removed.
    """
    if verdict.verdict == "unmatched":
        return refusals.CONDITIONAL_FAILED
    if verdict.verdict == "withheld" and command.refusal is not None:
        return command.refusal
    if verdict.verdict == "too_many":
        return refusals.TOO_MANY_PUBLICATIONS
    told = max(verdict.granted - policy.expires_offset, min(verdict.granted, 1))
    return _ok(entity_tag(command.publication_id, verdict.sequence), told)


def _may_publish(publisher: str, presentity_uri: str, policy: Policy) -> bool:
    """Whether this is the publisher's own presentity, as far as it is known who publishes (RFC 3903 section 14.1)."""
    return not publisher or (publisher.lower() if policy.sip_uri_match else publisher) == presentity_uri


def _ok(tag: str, expires: int) -> Reply:
    return Reply(200, headers=[("Expires", str(expires)), ("SIP-ETag", tag)])


def _sender(call: PublishCall) -> str | Reply | None:
    """The URI of the sender, for shared lines; None where it is not told, 400 where it is no URI."""
    if not call.sender:
        return None
    try:
        return parse_address(call.sender, "Sender").uri.partition(";")[0]
    except SipError as error:
        return refusals.malformed(error)


def _entity_tag(call: PublishCall) -> tuple[bytes, int] | Reply | None:
    """What SIP-If-Match names, None where it is absent; 400 unless it is one token, 412 for one that is not ours.

    `*` has no meaning here (section 8.1), so it is as wrong as two tags.
    """
    if not call.if_match:
        return None
    value = call.if_match[0]
    if len(call.if_match) > 1 or not is_token(value) or value == "*":
        return refusals.bad_request("SIP-If-Match is not one entity tag")
    return parse_entity_tag(value) or refusals.CONDITIONAL_FAILED


def _remains(package: EventPackage, content: _Content) -> bool:
    """Whether a publication that is over with the PUBLISH that makes it says something that has to be remembered."""
    return package.succession is not None and package.succession.remains(None, content.body) is not None


def _content(call: PublishCall, package: EventPackage) -> _Content | Reply | None:
    """The body and its type, None where there is no body; 415 or 400 where it cannot be published."""
    if not call.body:
        return None
    if (call.content_encoding or "identity").strip().lower() != "identity":
        return refusals.unsupported_encoding()
    if call.content_type is None:
        return refusals.bad_request("Missing Content-Type header")
    try:
        media_type, _ = parse_media_type(call.content_type)
    except SipError as error:
        return refusals.malformed(error)
    if media_type not in package.publish_types:
        return refusals.unsupported_type(package.publish_types)
    fault = package.check(media_type, call.body)
    if fault is not None:
        return refusals.bad_request(fault)
    return _Content(media_type, call.body)
