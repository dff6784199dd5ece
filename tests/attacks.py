"""Documents that are meant to hurt, for each package that can be published: what they are, and why they are refused.

They are thrown at the readers (tests/unit/documents/test_attacks.py) and at a running set
(tests/conformance/test_attacks.py).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

PIDF = "application/pidf+xml"
DIALOG_INFO = "application/dialog-info+xml"
SUMMARY = "application/simple-message-summary"
ELSEWHERE = "http://127.0.0.1:9"
"""Where nobody may go."""

DTD = "document type declarations are not accepted"
FORM = "not well-formed XML at line "


@dataclass(frozen=True)
class Attack:
    """A body for a PUBLISH of an event."""

    name: str
    event: str
    media_type: str
    body: bytes
    reason: str
    """What the refusal says, or begins to say; "" where the body is harmless and is taken."""

    def __str__(self) -> str:
        return f"{self.event}-{self.name}"


def presence(content: str, *, before: str = "", root: str = "presence", more: str = "") -> str:
    """A PIDF document."""
    return (
        f'{before}<{root} xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:a@b"{more}><tuple id="t"><status><basic>'
        f"open</basic></status>{content}</tuple></{root}>"
    )


def dialog_info(content: str, *, before: str = "", root: str = "dialog-info", more: str = "") -> str:
    """A dialog-info document."""
    return (
        f'{before}<{root} xmlns="urn:ietf:params:xml:ns:dialog-info" version="0" state="full" entity="sip:a@b"{more}>'
        f'<dialog id="d" call-id="c"><state>early</state>{content}</dialog></{root}>'
    )


def _entities(count: int) -> str:
    bombs = "".join(f'<!ENTITY x{n} "{f"&x{n - 1};" * 10}">' for n in range(1, count))
    return f'<!DOCTYPE r [<!ENTITY x0 "ha">{bombs}]>'


def _in_xml(
    write: Callable[..., str], wrong_root: str, *, needs_namespace: bool
) -> dict[str, tuple[bytes | str, str]]:
    """Name: (body, reason)."""
    declared = "<?xml version='1.0' encoding='{}'?>".format
    note = "<v:x xmlns:v='urn:v'>{}</v:x>".format
    long = "a" * 9000
    many = " ".join(f"a{number}=''" for number in range(5000))
    plain = write("")
    utf_7 = plain.replace("<", "+ADw-").replace(">", "+AD4-").replace('"', "+ACI-").replace("=", "+AD0-")
    hidden = _entities(9).replace("<", "+ADw-").replace("!", "+ACE-").replace("&", "+ACY-").replace('"', "+ACI-")
    return {
        "entity bomb": (write(note("&x29;"), before=_entities(30)), DTD),
        "entity bomb in an attribute": (write("<v:x xmlns:v='urn:v' a='&x29;'/>", before=_entities(30)), DTD),
        "one long entity often": (write(note("&x;" * 5000), before=f"<!DOCTYPE r [<!ENTITY x '{long}'>]>"), DTD),
        "file": (write(note("&x;"), before="<!DOCTYPE r [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"), DTD),
        "address": (write(note("&x;"), before=f"<!DOCTYPE r [<!ENTITY x SYSTEM '{ELSEWHERE}/x'>]>"), DTD),
        "parameter entity": (write("", before=f"<!DOCTYPE r [<!ENTITY % x SYSTEM '{ELSEWHERE}/x'> %x;]>"), DTD),
        "external subset": (write("", before=f"<!DOCTYPE r SYSTEM '{ELSEWHERE}/x.dtd'>"), DTD),
        "default attributes": (write("", before="<!DOCTYPE r [<!ATTLIST tuple id CDATA 'x'>]>"), DTD),
        "document type in UTF-16": (write("", before=f"{declared('UTF-16')}<!DOCTYPE r>").encode("utf-16"), DTD),
        "document type in UTF-16 without a mark": (
            write("", before=f"{declared('UTF-16LE')}<!DOCTYPE r>").encode("utf-16-le"), "",
        ),
        "document type in EBCDIC": (write("", before=f"{declared('IBM037')}<!DOCTYPE r>").encode("cp037"), ""),
        "document type in UTF-7": (f"{declared('UTF-7')}{hidden}{utf_7}", ""),
        "unknown entity": (write(note("&x;")), FORM),
        "deep": (write("<a>" * 70 + "</a>" * 70), "nested deeper than 64 elements"),
        "deeper than a parser likes": (write("<a>" * 9000 + "</a>" * 9000), ""),
        "many elements": (write("<a/>" * 15_000 + "<b></b>" * 6000), "more than 20000 elements"),
        "many namespaces": (write("".join(f"<a xmlns='urn:{n}'/>" for n in range(201))), "more than 200 namespaces"),
        "huge attribute": (write(f"<v:x xmlns:v='urn:v' a='{'a' * 50_000}'/>"), ""),
        "huge text": (write(note("a" * 50_000)), ""),
        "many attributes": (write(f"<v:x xmlns:v='urn:v' {many}/>"), ""),
        "one attribute twice": (write("<v:x xmlns:v='urn:v' a='' a=''/>"), FORM),
        "one attribute twice by two prefixes": (write("<v:x xmlns:v='urn:v' xmlns:w='urn:v' v:a='' w:a=''/>"), FORM),
        "huge name": (write(f"<v:{'x' * 30_000} xmlns:v='urn:v'/>"), ""),
        "huge namespace": (write(f"<v:x xmlns:v='urn:{'v' * 50_000}'/>"), ""),
        "wrong namespace": (plain.replace("xml:ns:", "xml:na:"), wrong_root),
        "no namespace": (plain.replace("xmlns=", "xmlns:p="), wrong_root if needs_namespace else ""),
        "undeclared prefix": (write("<q:x/>"), FORM),
        "another root": (write("", root="html"), wrong_root),
        "declared UTF-16, written in ASCII": (f"{declared('UTF-16')}{plain}", ""),
        "declared UTF-8, written in Latin-1": (f"{declared('UTF-8')}{write(note('é'))}".encode("latin-1"), FORM),
        "overlong UTF-8": (plain.encode().replace(b"sip:a@b", b"sip:a\xc0\xafb"), FORM),
        "surrogates in UTF-8": (plain.encode().replace(b"sip:a@b", b"\xed\xa0\x80\xed\xb0\x80"), FORM),
        "unknown encoding": (f"{declared('x-none')}{plain}", ""),
        "NUL": (plain.replace("sip:a@b", "sip:a\0b"), FORM),
        "NUL as a character": (write(note("&#0;")), FORM),
        "NUL behind": (plain + "\0", ""),
        "control character": (write(note("\x01")), FORM),
        "two roots": (plain * 2, FORM),
        "cut off": (plain[:-9], FORM),
        "processing instructions": (write("<?x y?>" * 500, before=f"<?xml-stylesheet href='{ELSEWHERE}'?>"), ""),
        "comments": (write("<!-- x -->" * 500).replace("early", "ea<!-- -->rly").replace("open", "op<!-- -->en"), ""),
        "inclusion": (
            write("<i:include xmlns:i='http://www.w3.org/2001/XInclude' href='/etc/passwd' parse='text'/>"), "",
        ),
        "schema elsewhere": (
            write(
                "",
                more=' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
                f'xsi:schemaLocation="urn:ietf:params:xml:ns:pidf {ELSEWHERE}/x.xsd"',
            ), "",
        ),
        "base elsewhere": (write("", more=f' xml:base="{ELSEWHERE}/"'), ""),
        "character references": (write(note("&#x41;" * 8000)), ""),
        "one section of text after the other": (write(note("<![CDATA[&]]>" * 4000)), ""),
        "zip": (b"PK\x03\x04" + bytes(200), ""),
        "nothing": (b"   ", FORM),
    }  # fmt: skip


REFUSED_SOMEHOW = frozenset({
    "document type in UTF-16 without a mark", "document type in EBCDIC", "document type in UTF-7",
    "deeper than a parser likes", "unknown encoding", "NUL behind", "zip",
    "declared UTF-16, written in ASCII",
})  # fmt: skip
"""Refused with a reason that depends on the parser."""


SUMMARIES: dict[str, tuple[bytes | str, str]] = {
    "XML": ("<!DOCTYPE r [<!ENTITY x 'x'>]><r>&x;</r>", "line 1 is no header"),
    "UTF-16": ("Messages-Waiting: yes\r\n".encode("utf-16"), "not UTF-8"),
    "a mark of the encoding": (b"\xef\xbb\xbfMessages-Waiting: yes\r\n", "line 1 is no header"),
    "overlong UTF-8": (b"Messages-Waiting: yes\r\nMessage-Account: sip:a\xc0\xafb\r\n", "not UTF-8"),
    "NUL": ("Messages-Waiting: yes\0\r\n", "line 1 is no header"),
    "NUL behind": ("Messages-Waiting: yes\r\n\0", "line 2 is no header"),
    "bare CR": ("Messages-Waiting: yes\rVoice-Message: 1/0\r\n", "line 1 is no header"),
    "many lines": ("Messages-Waiting: yes\r\n" + "Voice-Message: 1/0\r\n" * 3000, "more than 64 counts"),
    "huge line": (f"Messages-Waiting: yes\r\n{'X' * 60_000}: 1/0\r\n", ""),
    "huge count": (f"Messages-Waiting: yes\r\nVoice-Message: {'9' * 60_000}/0\r\n", ""),
    "huge account": (f"Messages-Waiting: yes\r\nMessage-Account: sip:{'a' * 60_000}\r\n", ""),
    "account in markup": (
        "Messages-Waiting: yes\r\nMessage-Account: <<sip:a>\r\n", "line 2: Message-Account is no URI",
    ),
    "blanks": (f"Messages-Waiting: yes{' ' * 60_000}\r\n", ""),
    "blanks in counts": (f"Messages-Waiting: yes\r\nVoice-Message: 1{' ' * 50_000}x\r\n", "line 2 has no counts"),
    "digits of other scripts": ("Messages-Waiting: yes\r\nVoice-Message: ٣/٤\r\n", "line 2 has no counts"),
    "negative count": ("Messages-Waiting: yes\r\nVoice-Message: -1/0\r\n", "line 2 has no counts"),
    "a second status": ("Messages-Waiting: yes\r\nMessages-Waiting: no\r\n", "line 2 has no counts"),
    "a SIP message behind": (
        "Messages-Waiting: yes\r\n\r\nNOTIFY sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP x\r\n", "line 3 is no header",
    ),
    "headers of messages without end": ("Messages-Waiting: yes\r\n\r\n" + "To: <sip:a@b>\r\n" * 3000, ""),
    "nothing": (b"   ", "line 1 is no header"),
}  # fmt: skip


def attacks() -> Iterator[Attack]:
    """All of them, a package after the other."""
    dialogs = _in_xml(dialog_info, "the root element is not dialog-info", needs_namespace=False)
    frames = {
        "presence": (PIDF, "PIDF: ", _in_xml(presence, "the root element is not presence", needs_namespace=True)),
        "dialog": (DIALOG_INFO, "Dialog info: ", dialogs),
        "dialog;sla": (DIALOG_INFO, "Dialog info: ", dialogs),
        "message-summary": (SUMMARY, "Message summary: ", SUMMARIES),
    }
    for event, (media_type, head, bodies) in frames.items():
        for name, (body, reason) in bodies.items():
            octets = body if isinstance(body, bytes) else body.encode()
            refused = bool(reason) or (name in REFUSED_SOMEHOW and event != "message-summary")
            yield Attack(name, event, media_type, octets, f"{head}{reason}" if refused else "")
