"""What finished transactions keep: little each, and bounded in all, whatever strangers send."""

import random

from bench.reading import kept
from tests.fuzz import seeds
from tests.fuzz.mutations import mutate
from tests.unit.sip.messages import request
from vedette.sip.errors import SipError
from vedette.sip.flow import Flow
from vedette.sip.message import Request
from vedette.sip.reader import read_message
from vedette.sip.transaction.layer import TransactionLayer
from vedette.sip.transaction.timers import Timers
from vedette.sip.writer import write_response

SOURCE = Flow("udp", "192.0.2.10", 5060)
MAX_KEPT = 100_000


def finish(layer: TransactionLayer, received: Request, response: bytes, now: float = 0.0) -> None:
    transaction = layer.receive_request(received, SOURCE, now)
    if transaction is not None:
        layer.respond(transaction, response, final=True, now=now)
    layer.outgoing()


def named(number: int) -> Request:
    return request(("Via", f"SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK{number};rport"))


def test_a_finished_transaction_keeps_less_than_1_kib() -> None:
    assert kept(5_000) < 1024


def test_trn_26_long_responses_are_bounded_in_all_and_the_oldest_goes_first() -> None:
    layer = TransactionLayer(Timers(), max_kept=MAX_KEPT)
    for number in range(500):
        finish(layer, named(number), b"x" * 1000)
        assert layer.kept <= MAX_KEPT
    assert (layer.kept, len(layer)) == (MAX_KEPT, 100)
    finish(layer, named(499), b"")
    assert layer.retransmissions_absorbed == 1
    finish(layer, named(0), b"y")
    assert layer.retransmissions_absorbed == 1
    finish(layer, named(1000), b"x" * (MAX_KEPT + 1))
    assert (layer.kept, len(layer)) == (0, 0)
    layer.handle_timer(1e9)
    assert (layer.kept, len(layer), layer.next_timer()) == (0, 0, None)


def test_sec_09_no_mutated_request_or_response_leaves_a_transaction_behind() -> None:
    chance = random.Random(9)
    layer, now = TransactionLayer(Timers()), 0.0
    seen = 0
    for number in range(3000):
        now += 0.01
        branch = f"z9hG4bK{number}"
        layer.send_request(branch=branch, method="NOTIFY", data=b"NOTIFY", flow=SOURCE, now=now)
        data = mutate(chance, chance.choice([*seeds.requests(str(number)), seeds.response(str(number))]))
        try:
            message = read_message(data)
            if isinstance(message, Request):
                message.check()
                finish(layer, message, write_response(message, 200, source=SOURCE.source), now)
            else:
                layer.receive_response(message, now)
            seen += 1
        except SipError:
            pass
        layer.handle_timer(now)
    assert seen > 500
    assert len(layer) > 500
    while (end := layer.next_timer()) is not None:
        layer.handle_timer(end)
        layer.outgoing()
    layer.events()
    assert (len(layer), layer.kept, layer.ongoing) == (0, 0, 0)
    assert not layer._merges
    assert not layer._flows
