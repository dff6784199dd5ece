"""Batches between the services, written and read as the services do it."""

from typing import Any

import msgspec

from bench.micro.benchmark import Benchmark, Work
from bench.micro.samples import DIALOG_ID, HASH, NOON, PIDF, notify_item, publish_call
from vedette.rpc.contract import (
    Document,
    NotifyBatch,
    Outcome,
    OutcomeBatch,
    Reply,
    ReplyBatch,
    RequestBatch,
)

CALLS = 100
NOTIFIES = 1000

REQUESTS = RequestBatch([publish_call(number) for number in range(CALLS)])
REPLIES = ReplyBatch(
    [Reply(200, headers=[("Expires", "3600"), ("SIP-ETag", f"{number:032x}.1")]) for number in range(CALLS)]
)
NOTIFY_BATCH = NotifyBatch(
    [Document("application/pidf+xml", PIDF)], [notify_item(number) for number in range(NOTIFIES)], DIALOG_ID, 5.0
)
OUTCOMES = OutcomeBatch(
    [
        Outcome(HASH, number.to_bytes(16, "big"), 3, 200, None, DIALOG_ID, NOON, f"n{number:x}", f"{number:016x}@x")
        for number in range(NOTIFIES)
    ]
)
_encode = msgspec.msgpack.Encoder().encode


def _pair(name: str, batch: msgspec.Struct, least: int) -> tuple[Benchmark, Benchmark]:
    """Writing it, which has to come to so many octets at least, and reading it."""
    octets = _encode(batch)
    decode: Any = msgspec.msgpack.Decoder(type(batch)).decode

    def written(_times: int) -> Work:
        return lambda _number: _encode(batch)

    def read(_times: int) -> Work:
        return lambda _number: decode(octets)

    return (
        Benchmark(f"rpc: {name}, written", written, lambda result: result == octets and len(octets) > least, 5),
        Benchmark(f"rpc: {name}, read", read, lambda result: result == batch, 5),
    )


BENCHMARKS = (
    *_pair(f"{CALLS} requests", REQUESTS, CALLS * len(PIDF)),
    *_pair(f"{CALLS} replies", REPLIES, CALLS * 40),
    *_pair(f"{NOTIFIES} NOTIFYs with one document", NOTIFY_BATCH, NOTIFIES * 100),
    *_pair(f"{NOTIFIES} outcomes", OUTCOMES, NOTIFIES * 50),
)
