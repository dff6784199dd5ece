"""What one of each keeps in memory, in octets."""

import tracemalloc
from collections.abc import Callable

import msgspec

from bench.micro.codec import NOTIFY_BATCH
from bench.micro.samples import EDGE, EDGE_ADDRESS, LOCAL, SOURCE, ok_to_notify, publish, request
from bench.reading import kept
from sip_edge.domain.calls import read_call
from sip_edge.domain.notify import write_notify
from vedette.rpc.contract import Document, NotifyBatch, NotifyItem
from vedette.runtime.journal import Journal
from vedette.sip.flow import Flow
from vedette.sip.message import Response
from vedette.sip.reader import read_message
from vedette.sip.route import route_in_dialog
from vedette.sip.transaction.layer import TransactionLayer
from vedette.sip.transaction.timers import Timers

ITEM = NOTIFY_BATCH.items[0]
DOCUMENT = Document("application/pidf+xml", b"<presence/>".ljust(1024))


def octets(count: int = 5000) -> dict[str, int]:
    """What each of so many keeps on average, by name."""
    return {
        "server transaction, open": _each(_open_servers, count),
        "server transaction, open, with the call of its PUBLISH": _each(_calls, count),
        "server transaction, finished": round(kept(count)),
        "client transaction, open, with a NOTIFY of 1 KiB": _each(_open_clients, count),
        "client transaction, open, with its item, too": _each(_clients_with_items, count),
        "client transaction, finished": _each(_finished_clients, count),
        "journal, an event": _each(_journal, count),
    }


def _each(make: Callable[[int], object], count: int) -> int:
    make(10)  # what is made once is there from then on
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    held = make(count)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del held
    return round((after - before) / count)


def _source(number: int) -> Flow:
    """Each datagram brings its own."""
    return Flow("udp", SOURCE.host[:3] + SOURCE.host[3:], 1024 + number)


def _open_servers(count: int) -> TransactionLayer:
    """They hold their requests until they are answered."""
    layer = TransactionLayer(Timers())
    for number in range(count):
        layer.receive_request(request(publish(number)), _source(number), number * 1e-4)
    _expect(layer.ongoing, count)
    return layer


def _calls(count: int) -> object:
    """What presence-core is asked is held, too."""
    layer = TransactionLayer(Timers())
    calls = []
    for number in range(count):
        flow, received = _source(number), request(publish(number))
        layer.receive_request(received, flow, number * 1e-4)
        trace = f"{EDGE[:6]}{number:x}"
        call = read_call(
            received, flow, local_address=LOCAL, edge_instance=EDGE, edge_address=EDGE_ADDRESS, trace=trace
        )
        calls.append(call)
    _expect(layer.ongoing, count)
    return layer, calls


def _items(count: int) -> list[NotifyItem]:
    """As they come from a notifier."""
    batch = msgspec.msgpack.encode(NOTIFY_BATCH)
    items: list[NotifyItem] = []
    while len(items) < count:
        items += msgspec.msgpack.decode(batch, type=NotifyBatch).items
    return items[:count]


def _send(layer: TransactionLayer, items: list[NotifyItem], *, keep: bool) -> None:
    for number, item in enumerate(items):
        branch = f"z9hG4bK{EDGE}.{number:x}"
        routed = route_in_dialog(item.target, item.record_route)
        via = f"SIP/2.0/UDP {LOCAL};branch={branch};rport"
        data = write_notify(item, DOCUMENT, routed, via=via, user_agent="Vedette/0.1")
        flow = Flow("udp", SOURCE.host, SOURCE.port)
        context = item if keep else None
        layer.send_request(branch=branch, method="NOTIFY", data=data, flow=flow, now=number * 1e-4, context=context)
        layer.outgoing()
    _expect(len(layer), len(items))


def _open_clients(count: int) -> TransactionLayer:
    layer = TransactionLayer(Timers())
    _send(layer, [ITEM] * count, keep=False)
    return layer


def _clients_with_items(count: int) -> TransactionLayer:
    layer = TransactionLayer(Timers())
    _send(layer, _items(count), keep=True)
    return layer


def _finished_clients(count: int) -> TransactionLayer:
    """They are kept for Timer K, so that a second answer is nobody's news."""
    layer = TransactionLayer(Timers())
    _send(layer, [ITEM] * count, keep=False)
    for number in range(count):
        response = read_message(ok_to_notify(f"z9hG4bK{EDGE}.{number:x}"))
        assert isinstance(response, Response)
        layer.receive_response(response, 1.0)
        _expect(len(layer.events()), 1)
    return layer


def _journal(count: int) -> Journal:
    journal = Journal(1 << 30)
    for number in range(count):
        call_id = f"{number:016x}@192.0.2.10"
        journal.one("answer", call_id, f"200 to PUBLISH {number}", trace=f"{EDGE[:6]}{number:x}")
    return journal


def _expect(found: int, wanted: int) -> None:
    if found != wanted:
        raise ValueError(f"{found} instead of {wanted}")
