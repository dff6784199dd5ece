"""What reads octets of strangers, each as a function that takes any: all that may come out of it is said here.

A target raises where the reader broke its word; what a reader refuses is no failure.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lxml import etree

from sip_edge.domain.authentication import Access, find_proof, realm_for, sender_by_proof
from sip_edge.domain.nonces import Nonces
from tests.fuzz import seeds
from tests.fuzz.mutations import mutate
from tests.unit.rules.documents import BOB, asked
from tests.unit.sip.messages import exercise, request
from vedette.documents import watcherinfo
from vedette.events.package import Preferences, Publication
from vedette.events.registry import PACKAGES
from vedette.rules.decision import Basis, Decision, decide, explain
from vedette.rules.document import Unreadable, read_rules
from vedette.rules.permissions import EVERYTHING, NOTHING, Handling, Sight
from vedette.rules.transform import see
from vedette.sip.address import parse_address, without_tag
from vedette.sip.digest import choose, parse_challenge, proves, read_proof
from vedette.sip.errors import SipError
from vedette.sip.event_header import parse_event
from vedette.sip.framing import Framed, KeepAlive, StreamFramer
from vedette.sip.grammar import parse_delta_seconds, parse_parameters, split_list
from vedette.sip.media_type import negotiate, parse_media_type
from vedette.sip.octets import decode, encode
from vedette.sip.route import route_in_dialog
from vedette.sip.stun import answer_binding
from vedette.sip.uri import address_of_record, parse_uri
from vedette.sip.via import parse_via
from vedette.transport.websocket import WebSocketWire

MAX_BODY = 4096
MAX_HEAD = 8192
ALICE = "sip:alice@example.com"
NONCES = Nonces([b"k"])
_ALL = frozenset({("all", "")})
SIGHTS = (
    NOTHING,
    EVERYTHING,
    Sight(services=_ALL, persons=_ALL, devices=_ALL),
    Sight(services=_ALL, persons=_ALL, attributes=frozenset({"note", "activities", "class"})),
    Sight(devices=_ALL, persons=frozenset({("occurrence-id", "p1")}), all_attributes=True),
)
DIGEST = Access("digest", realm="example.com")


@dataclass(frozen=True)
class Target:
    """A reader, and where mutations for it begin."""

    run: Callable[[bytes], None]
    seeds: Callable[[], tuple[bytes, ...]]

    def input(self, seed: int | str) -> bytes:
        """The octets of that seed: the same on every machine that has the same vectors."""
        chance = random.Random(seed)
        return mutate(chance, chance.choice(self.seeds()), self.seeds())


def stream(data: bytes) -> None:
    """However it is cut, a stream has the same messages, and what is kept of it is bounded."""
    whole = StreamFramer(max_head=MAX_HEAD, max_body=MAX_BODY)
    items = whole.receive(data)
    assert whole.pending <= MAX_HEAD + MAX_BODY + 4 or any(isinstance(i, Framed) and i.error for i in items)
    parts = StreamFramer(max_head=MAX_HEAD, max_body=MAX_BODY)
    size = 1 + len(data) % 97
    cut = [item for place in range(0, len(data), size) for item in parts.receive(data[place : place + size])]
    assert [_told(item) for item in cut] == [_told(item) for item in items]
    for item in items:
        if isinstance(item, Framed) and item.error is None:
            exercise(item.data)
        elif isinstance(item, Framed):
            assert item is items[-1], "nothing follows an error"


def _told(item: Framed | KeepAlive) -> tuple[object, ...]:
    # The head that an error comes with may have arrived with more behind it.
    return (item.data if item.error is None else b"", item.error is None) if isinstance(item, Framed) else (item,)


def websocket(data: bytes) -> None:
    """Openings and frames: nothing is raised, and all that is kept is bounded."""
    one = WebSocketWire(max_body=MAX_BODY)
    size = 1 + len(data) % 211
    for place in range(0, len(data), size):
        for framed in one.receive(data[place : place + size]):
            exercise(framed.data)
        assert isinstance(one.answers(), bytes)
    one.last_words()
    was_over = one.is_over
    assert one.receive(b"x") == [] or not was_over, "nothing is read after the end"


VALUES: tuple[Callable[[str], object], ...] = (
    parse_uri,
    parse_via,
    parse_event,
    parse_media_type,
    parse_challenge,
    split_list,
    without_tag,
    lambda text: choose([text]),
    lambda text: parse_address(text, "From"),
    lambda text: parse_delta_seconds(text, "Expires"),
    lambda text: parse_parameters(text, "To"),
    lambda text: negotiate([text], ["application/pidf+xml"]),
    lambda text: route_in_dialog(ALICE, [text]),
    lambda text: route_in_dialog(text, [text]),
)


def value(data: bytes) -> None:
    """A header value or URI: a reader returns, or refuses with 400 or 416; names are the same when read again."""
    text = decode(data)
    assert encode(text) == data
    for read in (*VALUES, _named_twice):
        try:
            read(text)
        except SipError as error:
            _is_refusal(error)


def _is_refusal(error: SipError) -> None:
    assert error.status in {400, 416}
    assert error.reason.isascii()


def _named_twice(text: str) -> None:
    name = address_of_record(text)
    assert address_of_record(name) == name, (text, name)


def digest(data: bytes) -> None:
    """An Authorization row: it proves nothing, whatever it says."""
    text = decode(data)
    try:
        proof = read_proof(text, "example.com")
        if proof is not None:
            assert not proves(proof, "0" * 64, "PUBLISH")
            assert NONCES.made_at(proof.nonce) is None
    except SipError as error:
        _is_refusal(error)
    if "\r" in text or "\n" in text:
        return
    asked = request(("Authorization", text))
    try:
        found = find_proof(DIGEST, asked, realm_for(DIGEST, asked))
        if found is not None:
            sender_by_proof(asked, found, "example.com")
    except SipError as error:
        _is_refusal(error)


def stun(data: bytes) -> None:
    """An answer is never much longer than its question."""
    for host in ("127.0.0.1", "2001:db8::1"):
        answer = answer_binding(data, host, 5060)
        assert answer is None or len(answer) <= 2 * len(data) + 80


def document(event: str) -> Callable[[bytes], None]:
    """What passes the check of a package can be composed with others, and what comes out can be published again."""
    package = PACKAGES[event]
    own = seeds.DOCUMENTS[event][0]

    def run(data: bytes) -> None:
        [media_type] = package.publish_types
        fault = package.check(media_type, data)
        if fault is not None:
            assert fault.isascii()
            assert "\r" not in fault
            assert "\n" not in fault
            return
        published = [
            Publication(bytes([number]) * 16, media_type, body) for number, body in enumerate((data, own, data))
        ]
        for kind in package.notify_types:
            for chosen in (published, published[:1]):
                body = package.compose(ALICE, chosen, kind, Preferences()).with_version(7)
                if kind == media_type:
                    assert package.check(media_type, body) is None
                elif kind.endswith("xml"):
                    etree.fromstring(body)
        if package.succession is not None:
            package.succession.is_provisional(data)
            package.succession.single_call(data)
            package.succession.remains(data, own)
            for merged in (package.succession.merge(data, own), package.succession.merge(own, data)):
                assert package.check(media_type, merged) is None

    return run


def rules(data: bytes) -> None:
    """What cannot be read blocks everybody else; what can be decides, and what it shows can be taken out."""
    found = read_rules(data)
    for watcher in (BOB, "sip:carol@example.net", "sip:%62ob@EXAMPLE.com", None):
        for event in ("presence", "dialog"):
            question = asked(watcher, sphere="work", event=event)
            decision = decide(found, question, Handling.ALLOW)
            explain(found, question, Handling.ALLOW)
            _is_decision(decision)
            if isinstance(found, Unreadable):
                assert (decision.handling, decision.basis) == (Handling.BLOCK, Basis.UNREADABLE)
    if isinstance(found, Unreadable):
        assert "\n" not in str(found)
        return
    assert all("\n" not in str(remark) for remark in found.remarks)
    etree.fromstring(see(seeds.RICH, decide(found, asked(), Handling.ALLOW).sight).document)


def _is_decision(decision: Decision) -> None:
    assert decision.handling is Handling.ALLOW or decision.sight == NOTHING


def seen(data: bytes) -> None:
    """Of a document that can be published: nothing is added, and nothing more is taken out the next time."""
    package = PACKAGES["presence"]
    [media_type] = package.publish_types
    if package.check(media_type, data) is not None:
        return
    published = [Publication(b"p" * 16, media_type, data), Publication(b"q" * 16, media_type, seeds.RICH)]
    document = package.compose(ALICE, published, media_type, Preferences()).with_version(1)
    for sight in SIGHTS:
        _see(document, sight)


def _see(document: bytes, sight: Sight) -> None:
    shown = see(document, sight).document
    assert see(shown, sight).document == shown
    before, after = (sorted(str(one.tag) for one in etree.fromstring(text).iter()) for text in (document, shown))
    for tag in set(after):
        assert after.count(tag) <= before.count(tag)


def watchers(data: bytes) -> None:
    """Names of watchers are what they sent; the document is well-formed all the same."""
    text = decode(data)
    named = [watcherinfo.Watcher("w1", text, "active", "subscribe", text, 7, 9)]
    body = watcherinfo.compose(text, "presence", named, full=True).with_version(1)
    root = etree.fromstring(body)
    assert len(root[0]) == 1


def _document_seeds(event: str) -> Callable[[], tuple[bytes, ...]]:
    return lambda: seeds.documents(event)


def _all(*sources: Callable[[], Iterable[bytes]]) -> Callable[[], tuple[bytes, ...]]:
    return lambda: tuple(data for source in sources for data in source())


TARGETS: dict[str, Target] = {
    "message": Target(exercise, seeds.messages),
    "stream": Target(stream, seeds.messages),
    "websocket": Target(websocket, seeds.websockets),
    "value": Target(value, seeds.values),
    "digest": Target(digest, seeds.values),
    "stun": Target(stun, lambda: seeds.STUN),
    **{event: Target(document(event), _document_seeds(event)) for event in seeds.DOCUMENTS},
    "rules": Target(rules, seeds.rules),
    "seen": Target(seen, _document_seeds("presence")),
    "watchers": Target(watchers, _all(seeds.values, seeds.messages)),
}
"""By name."""
