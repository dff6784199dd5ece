"""What presence-core decides, and the names that follow from a request."""

from bench.micro.benchmark import Benchmark, Work
from bench.micro.samples import ALICE, DIALOG_ID, publish_call, subscribe_call
from presence_core.domain.policy import Policy
from presence_core.domain.publish import PublishCommand, PublishVerdict, conclude_publish, plan_publish
from presence_core.domain.subscribe import SubscribeCommand, SubscribeVerdict, conclude_subscribe, plan_subscribe
from vedette.identity import entity_tag, request_key
from vedette.rpc.contract import Reply

POLICY = Policy(secret=bytes(32), domains=frozenset({"example.com"}), always_200=True)


def _plan_publish(times: int) -> Work:
    calls = [publish_call(number) for number in range(times)]
    return lambda number: plan_publish(calls[number], POLICY)


def _plan_refresh(times: int) -> Work:
    tag = entity_tag(DIALOG_ID, 1)
    calls = [publish_call(number, if_match=tag) for number in range(times)]
    return lambda number: plan_publish(calls[number], POLICY)


def _conclude_publish(times: int) -> Work:
    commands = [plan_publish(publish_call(number), POLICY) for number in range(times)]
    stored = PublishVerdict("created", 1, 3600, at=0.0, version=1)

    def work(number: int) -> object:
        command = commands[number]
        return isinstance(command, PublishCommand) and conclude_publish(command, stored, POLICY)

    return work


def _plan_subscribe(times: int) -> Work:
    calls = [subscribe_call(number) for number in range(times)]
    return lambda number: plan_subscribe(calls[number], POLICY)


def _conclude_subscribe(times: int) -> Work:
    commands = [plan_subscribe(subscribe_call(number), POLICY) for number in range(times)]
    stored = SubscribeVerdict("created", 3600)

    def work(number: int) -> object:
        command = commands[number]
        return isinstance(command, SubscribeCommand) and conclude_subscribe(command, stored, POLICY)

    return work


def _request_key(times: int) -> Work:
    parts = [
        (
            "PUBLISH",
            ALICE,
            "presence",
            f"{number:016x}@192.0.2.10",
            "1",
            f"{number:016x}f",
            f"z9hG4bK{number:016x}",
        )
        for number in range(times)
    ]
    return lambda number: request_key(POLICY.secret, parts[number])


def _is_ok(result: object) -> bool:
    return isinstance(result, Reply) and result.status == 200 and dict(result.headers)["Expires"] == "3600"


BENCHMARKS = (
    Benchmark(
        "core: plan of an initial PUBLISH",
        _plan_publish,
        lambda result: isinstance(result, PublishCommand) and result.refusal is None and bool(result.body),
    ),
    Benchmark(
        "core: plan of a refresh",
        _plan_refresh,
        lambda result: isinstance(result, PublishCommand) and result.refusal is None and result.sequence == 1,
    ),
    Benchmark("core: conclusion of a PUBLISH", _conclude_publish, _is_ok),
    Benchmark(
        "core: plan of a SUBSCRIBE",
        _plan_subscribe,
        lambda result: isinstance(result, SubscribeCommand) and result.refusal is None,
    ),
    Benchmark("core: conclusion of a SUBSCRIBE", _conclude_subscribe, _is_ok),
    Benchmark("core: key of a request", _request_key, lambda result: isinstance(result, bytes) and len(result) == 16),
)
