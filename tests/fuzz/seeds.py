"""Where mutations begin: messages and documents of our own, and those of others where they lie (VEDETTE_VECTORS)."""

from functools import cache

from tests.dialog_info import call, dialogs
from tests.phone import pidf
from tests.unit.rules.documents import ALL_COMPONENTS, identity, one, rule, ruleset
from tests.vectors import vectors
from tests.websocket import PING, TEXT, frame, opening

PACKAGES = (
    ("presence", "application/pidf+xml"),
    ("dialog", "application/dialog-info+xml"),
    ("message-summary", "application/simple-message-summary"),
)
SUMMARY = b"Messages-Waiting: yes\r\nMessage-Account: sip:alice@example.com\r\nVoice-Message: 2/8 (0/2)\r\n"
RICH = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<presence xmlns="urn:ietf:params:xml:ns:pidf"'
    b' xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid"'
    b' entity="sip:alice@example.com"><tuple id="a1"><status><basic>open</basic></status><rpid:class>x</rpid:class>'
    b'<dm:deviceID>urn:device:1</dm:deviceID><contact priority="0.8">sip:alice@127.0.0.1</contact>'
    b'<note xml:lang="en">&lt;here&gt; &#233;</note><timestamp>2026-01-01T00:00:00Z</timestamp></tuple>'
    b'<note>caf\xc3\xa9</note><dm:person id="p1"><rpid:activities><rpid:busy/></rpid:activities></dm:person>'
    b'<dm:device id="d1"><dm:deviceID>urn:device:1</dm:deviceID></dm:device></presence>'
)
DOCUMENTS = {
    "presence": [pidf(), pidf(basic="closed", note="gone"), RICH],
    "dialog": [
        dialogs(),
        dialogs(call("early"), call("confirmed", "c2", local="a", remote="b")),
        dialogs(call("terminated", more="<duration>7</duration>"), state="partial"),
    ],
    "message-summary": [SUMMARY, b"Messages-Waiting: no\r\n"],
}
RULES = (
    ruleset(rule("r1", one("sip:bob@example.com"), "allow", ALL_COMPONENTS)),
    ruleset(
        rule(
            "r1", identity('<many domain="example.com"><except id="sip:carol@example.com"/></many>'), "polite-block"
        ),
        rule("r2", '<sphere value="work"/>', "confirm"),
        rule(
            "r3",
            "<validity><from>2026-01-01T00:00:00Z</from><until>2027-01-01T00:00:00+01:00</until></validity>",
            "allow",
            "<pr:provide-persons><pr:occurrence-id>p1</pr:occurrence-id></pr:provide-persons>"
            "<pr:provide-activities>true</pr:provide-activities><pr:provide-user-input>bare</pr:provide-user-input>"
            '<pr:provide-unknown-attribute ns="urn:v" name="x">true</pr:provide-unknown-attribute>',
        ),
        rule("r4", "<ocp:other-identity/>", "block"),
    ),
    ruleset(rule("r1", '<ocp:external-list><ocp:entry anc="http://x/l~~"/></ocp:external-list>', "allow")),
)
DIGEST = (
    'Digest username="alice", realm="example.com", nonce="AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", uri="sip:a@example.com",'
    ' response="0123456789abcdef0123456789abcdef", algorithm=SHA-256, qop=auth, nc=00000001, cnonce="c\\"n"'
)
VALUES = (
    "sip:alice@example.com", "sips:%61lice;x=1@[2001:db8::1]:5061;transport=tcp;lr?Subject=a&b=c", "pres:a@b",
    '"A \\"B\\" C" <sip:alice@example.com;lr>;tag=1;x="y,z"', "sip:a@b;tag=2", "<sip:[::1]>,<sips:b@c;maddr=1.2.3.4>",
    "SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK1;rport;received=127.0.0.1", 'SIP / 2.0 / TCP [::1] : 1 ;a="b"',
    "presence;id=1", "dialog;call-id=a;from-tag=b;to-tag=c", "application/pidf+xml;q=0.5;charset=utf-8, */*;q=0",
    DIGEST, DIGEST.replace("SHA-256", "SHA-512-256-sess"), "4294967295", "1 SUBSCRIBE", "300 (later);duration=5",
    'Digest realm="example.com", nonce="n", qop="auth,auth-int", algorithm=MD5, stale=TRUE, opaque=""',
)  # fmt: skip
STUN = (
    bytes.fromhex("000100002112a442000102030405060708090a0b"),
    bytes.fromhex("000100082112a442000102030405060708090a0b802200046162630a"),
    bytes.fromhex("000100082112a442000102030405060708090a0b00030004000000ff"),
)


def message(
    method: str,
    *rows: str,
    branch: str,
    body: bytes = b"",
    uri: str = "sip:alice@example.com",
    transport: str = "UDP",
) -> bytes:
    """A request without a fault; what comes of it goes nowhere but to loopback."""
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/{transport} 127.0.0.1:9;branch=z9hG4bK{branch};rport",
        "Max-Forwards: 70",
        f'From: "Bob" <sip:bob@example.com>;tag={branch}',
        "To: <sip:alice@example.com>",
        f"Call-ID: {branch}@127.0.0.1",
        f"CSeq: 1 {method}",
        *rows,
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def requests(branch: str, contact: str = "<sip:bob@127.0.0.1:9>", transport: str = "UDP") -> list[bytes]:
    """One of each kind; `branch` names transaction and dialog."""

    def write(method: str, *rows: str, body: bytes = b"", uri: str = "sip:alice@example.com") -> bytes:
        return message(method, *rows, branch=branch, body=body, uri=uri, transport=transport)

    found = [
        write(method, f"Contact: {contact}", "Require: nothing" if method == "BYE" else "Supported: eventlist")
        for method in ("OPTIONS", "INVITE", "CANCEL", "ACK", "NOTIFY", "MESSAGE", "BYE", "REGISTER", "UNHEARD-OF")
    ]
    for event, media_type in PACKAGES:
        for body in DOCUMENTS[event]:
            found.append(write("PUBLISH", f"Event: {event}", "Expires: 60", f"Content-Type: {media_type}", body=body))
        for more in (
            (),
            ("Expires: 0",),
            ("Record-Route: <sip:127.0.0.1:9;lr>, <sip:127.0.0.1:8>", f"Accept: {media_type}"),
        ):
            found.append(write("SUBSCRIBE", f"Event: {event}", f"Contact: {contact}", "Expires: 60", *more))
    found.append(
        write("PUBLISH", "Event: presence", "SIP-If-Match: 00000000000000000000000000000000.1", "Expires: 60")
    )
    found.append(write("SUBSCRIBE", "o: presence.winfo", f"m: {contact}", f"Authorization: {DIGEST}"))
    found.append(write("SUBSCRIBE", "Event: dialog;sla", f"Contact: {contact}", "User-Agent: \u00fc"))
    return found


def response(branch: str, status: int = 200, method: str = "NOTIFY") -> bytes:
    """One to a request that nobody sent."""
    return message(method, "Retry-After: 5 (busy);duration=9", branch=branch).replace(
        f"{method} sip:alice@example.com SIP/2.0".encode(), b"SIP/2.0 %d Whatever" % status, 1
    )


@cache
def messages() -> tuple[bytes, ...]:
    """Ours and those of others."""
    folders = (
        "rfc4475",
        "rfc5118",
        "rfc-examples",
        "doc-examples",
        "client",
        "captures",
        "sip",
        "fuzz-seeds",
        "security",
    )
    others = [
        vector.data
        for folder in folders
        for vector in vectors(folder)
        if vector.path.endswith((".dat", ".sip", ".bin"))
    ]
    return (*requests("seed"), response("seed"), response("seed", 481), *others)


@cache
def documents(event: str) -> tuple[bytes, ...]:
    """Bodies of a package."""
    folder = {"presence": "body/pidf", "dialog": "body/dialog-info"}.get(event, f"body/{event}")
    others = [
        vector.data for vector in (*vectors(folder), *vectors("security")) if vector.facts["kind"] != "security"
    ]
    return (*DOCUMENTS[event], *others)


@cache
def rules() -> tuple[bytes, ...]:
    """Rules documents."""
    others = [
        vector.data for folder in ("body/pres-rules", "golden/pres-rules", "xcap") for vector in vectors(folder)
    ]
    return (*RULES, *others)


@cache
def values() -> tuple[bytes, ...]:
    """Values of headers and URIs."""
    return tuple(value.encode() for value in VALUES)


@cache
def websockets() -> tuple[bytes, ...]:
    """What browsers send, from the opening on."""
    one = requests("ws", transport="WS")[-1]
    parts = frame(TEXT, one[:20], fin=False) + frame(PING, b"p") + frame(0, one[20:])
    return (opening(), opening() + frame(TEXT, one), opening() + parts, opening() + frame(8, b"\x03\xe8"))
