"""What reading a PUBLISH costs beside splitting it into a dictionary, and what a finished transaction keeps.

`python -m bench.reading`. The two readings take turns in one run, so that their ratio depends on no machine.
"""

import sys
import time
import tracemalloc
from collections.abc import Callable
from statistics import median

from vedette.sip.flow import Flow
from vedette.sip.headers import COMPACT_FORMS
from vedette.sip.message import Request
from vedette.sip.reader import read_message
from vedette.sip.transaction.layer import TransactionLayer
from vedette.sip.transaction.timers import Timers
from vedette.sip.uri import address_of_record
from vedette.sip.writer import write_response

BODY = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:alice@example'
    b'.com"><tuple id="t1"><status><basic>open</basic></status><note>In a meeting</note></tuple></presence>'
)
HEAD = (
    "PUBLISH sip:alice@example.com SIP/2.0\r\n"
    "Via: SIP/2.0/UDP {2}:5060;branch=z9hG4bK{0};rport\r\n"
    "Max-Forwards: 70\r\n"
    'From: "Alice" <sip:alice@example.com>;tag={0}f\r\n'
    "To: <sip:alice@example.com>\r\n"
    "Call-ID: {0}@192.0.2.10\r\n"
    "CSeq: 1 PUBLISH\r\n"
    "Contact: <sip:alice@192.0.2.10:5060>\r\n"
    "Event: presence\r\n"
    "Expires: 3600\r\n"
    "User-Agent: Phone/1.0\r\n"
    "Content-Type: application/pidf+xml\r\n"
    "Content-Length: {1}\r\n\r\n"
)


def publish(name: str, host: str = "192.0.2.10") -> bytes:
    """A typical one; `name` makes it another one than those before."""
    return HEAD.format(name, len(BODY), host).encode() + BODY


def split(data: bytes) -> dict[str, list[str]]:
    """The least: the rows by their names in lower case."""
    head, _, _body = data.partition(b"\r\n\r\n")
    rows: dict[str, list[str]] = {}
    for line in head.decode().split("\r\n")[1:]:
        name, _, value = line.partition(":")
        rows.setdefault(name.strip().lower(), []).append(value.strip())
    return rows


def split_for_use(data: bytes) -> tuple[list[str], dict[str, list[str]], bytes]:
    """What makes the dictionary one of SIP: compact names are long ones, folded lines are joined, the body is cut."""
    head, _, body = data.partition(b"\r\n\r\n")
    start, *lines = head.decode().split("\r\n")
    rows: dict[str, list[str]] = {}
    row: list[str] = []
    for line in lines:
        if line[:1] in " \t":
            row[-1] += " " + line.strip()
            continue
        name, _, value = line.partition(":")
        key = name.strip().lower()
        row = rows.setdefault(COMPACT_FORMS.get(key, key), [])
        row.append(value.strip())
    return start.split(" ", 2), rows, body[: int(rows["content-length"][0])]


def read(data: bytes) -> tuple[object, ...]:
    """The message with every typed field that an edge and a core look at."""
    message = read_message(data)
    assert isinstance(message, Request)
    message.check()
    return (
        message.top_via.branch,
        message.client_branch,
        message.from_.uri,
        message.from_.tag,
        message.to.tag,
        message.call_id,
        message.cseq,
        message.event,
        message.expires,
        address_of_record(message.uri),
        message.headers.single("content-type"),
        message.body,
    )


def microseconds(work: Callable[[bytes], object], messages: list[bytes]) -> float:
    """CPU time for each message."""
    since = time.process_time()
    for data in messages:
        work(data)
    return (time.process_time() - since) * 1e6 / len(messages)


def kept(transactions: int) -> float:
    """Octets that each finished server transaction keeps until Timer J ends it."""
    layer = TransactionLayer(Timers(), max_completed=transactions)
    hosts = [f"192.0.2.{number}" for number in range(250)]
    for host in hosts:  # what readers remember of clients is bounded elsewhere
        read(publish("", host))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(transactions):
        _finish(layer, number, hosts[number % len(hosts)])
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(layer) == transactions
    return (after - before) / transactions


def _finish(layer: TransactionLayer, number: int, host: str) -> None:
    """A PUBLISH of its own, answered."""
    now = number * 1e-4
    request = read_message(publish(f"{number:016x}", host))
    assert isinstance(request, Request)
    source = Flow("udp", host[:3] + host[3:], 1024 + number % 60000)  # each datagram brings its own
    transaction = layer.receive_request(request, source, now)
    assert transaction is not None
    headers = [("SIP-ETag", f"{number:032x}.1"), ("Expires", "3600")]
    response = write_response(request, 200, source=source.source, to_tag="a" * 16, headers=headers)
    layer.respond(transaction, response, final=True, now=now)
    layer.outgoing()


def main() -> None:
    """Measure and print."""
    messages = [publish(f"{number:016x}") for number in range(2000)]
    runs = [tuple(microseconds(work, messages) for work in (split, split_for_use, read)) for _ in range(25)]
    bare, usable, typed = (median(figures) for figures in zip(*runs, strict=True))
    to_usable, to_bare = (median(run[2] / run[other] for run in runs) for other in (1, 0))
    sys.stdout.write(
        f"a PUBLISH of {len(messages[0])} octets\n"
        f"split at line ends and colons: {bare:.1f} us\n"
        f"split into a dictionary with the names and folds of SIP: {usable:.1f} us\n"
        f"read and checked, with its typed fields: {typed:.1f} us, {to_usable:.2f} times the dictionary (at most 3"
        f" are wanted), {to_bare:.2f} times the bare split\n"
        f"a finished transaction keeps {kept(100_000):.0f} octets (at most 1024 are wanted)\n"
    )


if __name__ == "__main__":
    main()
