"""Reading a message, its transaction, writing its answer."""

from bench.micro.benchmark import Benchmark, Work
from bench.micro.samples import DIALOG_ID, LOCAL, OUR_TAG, PIDF, SOURCE, ok_to_notify, publish, request, subscribe
from bench.reading import read, split_for_use
from sip_edge.domain.calls import answer
from vedette.rpc.contract import Reply
from vedette.sip.message import Response
from vedette.sip.reader import read_message
from vedette.sip.transaction import client, server
from vedette.sip.transaction.layer import TransactionLayer
from vedette.sip.transaction.timers import Timers

_OK = b"SIP/2.0 200 OK\r\n\r\n"


def _nothing(_times: int) -> Work:
    return lambda number: number


def _dictionary(times: int) -> Work:
    messages = [publish(number) for number in range(times)]
    return lambda number: split_for_use(messages[number])


def _all_fields(times: int) -> Work:
    messages = [publish(number) for number in range(times)]
    return lambda number: read(messages[number])


def _publish(times: int) -> Work:
    messages = [publish(number) for number in range(times)]
    return lambda number: request(messages[number]).method


def _subscribe(times: int) -> Work:
    messages = [subscribe(number) for number in range(times)]
    return lambda number: request(messages[number]).method


def _ok_to_notify(times: int) -> Work:
    """As far as the transaction layer looks at it."""
    messages = [ok_to_notify(f"z9hG4bKedge.{number:x}") for number in range(times)]

    def work(number: int) -> object:
        message = read_message(messages[number])
        return isinstance(message, Response) and (message.branch[:12], message.cseq, message.status)

    return work


def _server_step(_times: int) -> Work:
    return lambda _number: server.step(server.State.TRYING, server.Input.SEND_FINAL)


def _client_step(_times: int) -> Work:
    return lambda _number: client.step(client.State.TRYING, client.Input.FINAL)


def _server_transaction(times: int) -> Work:
    layer = TransactionLayer(Timers(), max_completed=times)
    requests = [request(publish(number)) for number in range(times)]

    def work(number: int) -> object:
        now = number * 1e-4
        transaction = layer.receive_request(requests[number], SOURCE, now)
        if transaction is None or layer.is_merged(transaction):
            return None
        layer.respond(transaction, _OK, final=True, now=now)
        return layer.outgoing()

    return work


def _client_transaction(times: int) -> Work:
    layer = TransactionLayer(Timers())
    branches = [f"z9hG4bKedge.{number:x}" for number in range(times)]
    answers = [message for branch in branches if isinstance(message := read_message(ok_to_notify(branch)), Response)]

    def work(number: int) -> object:
        now = number * 1e-4
        layer.send_request(branch=branches[number], method="NOTIFY", data=PIDF, flow=SOURCE, now=now)
        return len(layer.outgoing()), layer.receive_response(answers[number], now), len(layer.events())

    return work


def _answer_to_publish(times: int) -> Work:
    requests = [request(publish(number)) for number in range(times)]
    reply = Reply(200, headers=[("Expires", "3600"), ("SIP-ETag", f"{DIALOG_ID.hex()}.1")])
    return lambda number: answer(requests[number], reply, source=SOURCE.source, to_tag=OUR_TAG)


def _answer_to_subscribe(times: int) -> Work:
    requests = [request(subscribe(number)) for number in range(times)]
    reply = Reply(200, to_tag=OUR_TAG, headers=[("Expires", "3600"), ("Contact", f"<sip:presence@{LOCAL}>")])
    return lambda number: answer(requests[number], reply, source=SOURCE.source, to_tag="")


def _is_ok(result: object) -> bool:
    return isinstance(result, bytes) and result.startswith(b"SIP/2.0 200 OK\r\nVia: ")


BENCHMARKS = (
    Benchmark("loop: nothing", _nothing, lambda result: isinstance(result, int), 200),
    Benchmark("reader: PUBLISH split into a dictionary", _dictionary, lambda result: bool(result)),
    Benchmark("reader: PUBLISH with all typed fields", _all_fields, lambda result: result[-1] == PIDF),
    Benchmark("reader: PUBLISH", _publish, lambda result: result == "PUBLISH"),
    Benchmark("reader: SUBSCRIBE", _subscribe, lambda result: result == "SUBSCRIBE"),
    Benchmark("reader: 200 to NOTIFY", _ok_to_notify, lambda result: result == ("z9hG4bKedge.", (8, "NOTIFY"), 200)),
    Benchmark("transaction: step of a server", _server_step, lambda result: result[0] is server.State.COMPLETED),
    Benchmark("transaction: step of a client", _client_step, lambda result: result[0] is client.State.COMPLETED),
    Benchmark("transaction: server, to its 200", _server_transaction, lambda result: result == [(SOURCE, _OK)]),
    Benchmark("transaction: client, to its 200", _client_transaction, lambda result: result == (1, True, 1)),
    Benchmark("response: 200 to PUBLISH", _answer_to_publish, _is_ok),
    Benchmark("response: 200 to SUBSCRIBE", _answer_to_subscribe, _is_ok),
)
