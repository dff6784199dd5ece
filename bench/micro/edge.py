"""What an edge does with a request besides, and with a NOTIFY; its queues and its journal."""

from collections.abc import Hashable

from bench.micro.benchmark import Benchmark, Work
from bench.micro.samples import (
    EDGE,
    EDGE_ADDRESS,
    LOCAL,
    OUR_TAG,
    PIDF,
    SOURCE,
    notify_item,
    publish,
    request,
    subscribe,
)
from sip_edge.domain.admission import Next, admit
from sip_edge.domain.calls import lane_of, read_call
from sip_edge.domain.next_hop import Destination, choose_destination
from sip_edge.domain.notify import write_notify
from sip_edge.domain.pacing import Pacer
from vedette.batching import Batcher
from vedette.rpc.contract import Document
from vedette.runtime.journal import Journal
from vedette.sip.message import Request
from vedette.sip.route import route_in_dialog

BATCH = 100
WINDOW = 64


def _admit(times: int) -> Work:
    requests = [request(publish(number)) for number in range(times)]
    return lambda number: admit(requests[number], max_body=65536)


def _call(requests: list[Request]) -> Work:
    def work(number: int) -> object:
        call = read_call(requests[number], SOURCE, local_address=LOCAL, edge_instance=EDGE, edge_address=EDGE_ADDRESS)
        return lane_of(call)

    return work


def _next_hop(times: int) -> Work:
    items = [notify_item(number) for number in range(times)]

    def work(number: int) -> object:
        item = items[number]
        return choose_destination(route_in_dialog(item.target, item.record_route), item.flow, flow_is_open=False)

    return work


def _write_notify(times: int) -> Work:
    items = [notify_item(number) for number in range(times)]
    routed = route_in_dialog(items[0].target, items[0].record_route)
    document = Document("application/pidf+xml", PIDF)
    via = f"SIP/2.0/UDP {LOCAL};branch=z9hG4bKedge.1;rport"
    return lambda number: write_notify(items[number], document, routed, via=via, user_agent="Vedette/0.1")


def _batcher(_times: int) -> Work:
    batcher: Batcher[int] = Batcher(max_batch=BATCH, max_in_flight=1, max_queue=BATCH)
    lanes: list[Hashable] = [(f"sip:user{number}@example.com", "presence") for number in range(BATCH)]

    def work(_number: int) -> object:
        for index, lane in enumerate(lanes):
            batcher.put(lane, index)
        batch = batcher.take()
        for lane, _ in batch:
            batcher.release(lane)
        batcher.returned()
        return len(batch), batcher.queued

    return work


def _pacer(_times: int) -> Work:
    pacer: Pacer[int] = Pacer(window=WINDOW, patience=0.1)

    def work(number: int) -> object:
        now = float(number)
        for index in range(BATCH):
            pacer.put(("192.0.2.7", 5060), index)
        left = 0
        while taken := pacer.take(now):
            for place, _ in taken:
                pacer.answered(place)
            left += len(taken)
            pacer.expire(now)
        return left, pacer.waiting

    return work


def _journal_one(_times: int) -> Work:
    journal = Journal(1 << 20)

    def work(_number: int) -> object:
        journal.one("answer", "c1@192.0.2.10", "200 to PUBLISH 1", trace="edge1", dialog=OUR_TAG)
        return journal.size

    return work


def _journal_many(_times: int) -> Work:
    journal = Journal(1 << 20)
    call_ids = [f"c{number}@192.0.2.10" for number in range(BATCH)]
    traces = [f"edge{number}" for number in range(BATCH)]

    def work(_number: int) -> object:
        journal.many("to core", call_ids, "127.0.0.1:8071, 100 in the batch", traces=traces)
        return journal.size

    return work


def _is_size(result: object) -> bool:
    return isinstance(result, int) and result > 200


BENCHMARKS = (
    Benchmark("edge: PUBLISH admitted", _admit, lambda result: result is Next.FORWARD),
    Benchmark(
        "edge: call of a PUBLISH",
        lambda times: _call([request(publish(number)) for number in range(times)]),
        lambda result: result == ("sip:alice@example.com", "presence"),
    ),
    Benchmark(
        "edge: call of a SUBSCRIBE",
        lambda times: _call([request(subscribe(number)) for number in range(times)]),
        lambda result: isinstance(result, tuple) and result[0].endswith("@192.0.2.10"),
    ),
    Benchmark("edge: next hop of a NOTIFY", _next_hop, lambda result: result == Destination(*SOURCE[:3])),
    Benchmark(
        "edge: NOTIFY written",
        _write_notify,
        lambda result: isinstance(result, bytes) and result.startswith(b"NOTIFY sip:") and result.endswith(PIDF),
    ),
    Benchmark(f"queue: batcher, {BATCH} calls", _batcher, lambda result: result == (BATCH, 0), 10),
    Benchmark(f"queue: pacer, {BATCH} NOTIFYs to one address", _pacer, lambda result: result == (BATCH, 0), 10),
    Benchmark("journal: one event", _journal_one, _is_size, 200),
    Benchmark(f"journal: an event of {BATCH} calls", _journal_many, _is_size, 200),
)
