"""Names of next hops: equal lookups are one, slow ones hold up nobody, failures are values."""

import asyncio
import socket
import threading
from collections.abc import Mapping

import pytest

from sip_edge.adapters import resolver as module
from sip_edge.adapters.resolver import Resolver
from tests.wait import until_true


class NameServer:
    """Answers in threads: `slow` names only when the test lets them."""

    def __init__(self, names: Mapping[str, str | Exception], *, slow: tuple[str, ...] = ()) -> None:
        self.names = names
        self.slow = slow
        self.asked: list[str] = []
        self.let = threading.Event()
        self.resolver = Resolver(socket.AF_INET, look_up=self.look_up)

    def look_up(self, host: str, family: socket.AddressFamily) -> str:
        assert family == socket.AF_INET
        self.asked.append(host)
        if host in self.slow:
            self.let.wait(60)
        answer = self.names[host]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_equal_lookups_are_one_and_the_answer_is_kept() -> None:
    server = NameServer({"a": "192.0.2.1"}, slow=("a",))
    waiting = [asyncio.create_task(server.resolver.resolve("a")) for _ in range(20)]
    await until_true(lambda: server.asked, "the name is asked for")
    server.let.set()
    assert await asyncio.gather(*waiting) == ["192.0.2.1"] * 20
    assert await server.resolver.resolve("a") == "192.0.2.1"
    assert server.asked == ["a"]


async def test_whoever_stops_waiting_stops_nobody_else() -> None:
    server = NameServer({"a": "192.0.2.1"}, slow=("a",))
    impatient, patient = (asyncio.create_task(server.resolver.resolve("a")) for _ in range(2))
    await until_true(lambda: server.asked, "the name is asked for")
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    server.let.set()
    assert await patient == "192.0.2.1"


async def test_out_05_slow_names_do_not_delay_others() -> None:
    slow = tuple(f"slow-{number}" for number in range(module.MAX_THREADS - 1))
    server = NameServer(dict.fromkeys(slow, "192.0.2.9") | {"a": "192.0.2.1"}, slow=slow)
    waiting = [asyncio.create_task(server.resolver.resolve(name)) for name in slow]
    await until_true(lambda: len(server.asked) == len(slow), "the slow names are asked for")
    assert await server.resolver.resolve("a") == "192.0.2.1"
    assert not any(task.done() for task in waiting)
    server.let.set()
    assert await asyncio.gather(*waiting) == ["192.0.2.9"] * len(slow)


async def test_a_name_that_is_not_found_out_in_time_has_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOKUP_TIMEOUT", 0.02)
    server = NameServer({"a": "192.0.2.1"}, slow=("a",))
    assert await server.resolver.resolve("a") is None
    assert await server.resolver.resolve("a") is None
    await until_true(lambda: server.asked, "the name is asked for")
    assert server.asked == ["a"]
    server.let.set()


@pytest.mark.parametrize(
    "error", [socket.gaierror(-2, "Name or service not known"), ValueError("embedded null"), OSError()]
)
async def test_out_05_a_failed_lookup_is_a_value_and_is_kept(error: Exception) -> None:
    server = NameServer({"a": error})
    assert await server.resolver.resolve("a") is None
    assert await server.resolver.resolve("a") is None
    assert server.asked == ["a"]


async def test_lookups_under_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_UNDER_WAY", 2)
    server = NameServer({"a": "192.0.2.1", "b": "192.0.2.2", "c": "192.0.2.3"}, slow=("a", "b"))
    waiting = [asyncio.create_task(server.resolver.resolve(name)) for name in "ab"]
    await until_true(lambda: len(server.asked) == 2, "two are asked for")
    assert await server.resolver.resolve("c") is None
    server.let.set()
    assert await asyncio.gather(*waiting) == ["192.0.2.1", "192.0.2.2"]
    assert await server.resolver.resolve("c") == "192.0.2.3"


async def test_names_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NAMES", 2)
    server = NameServer({name: f"192.0.2.{number}" for number, name in enumerate("abc")})
    for name in "abca":
        assert await server.resolver.resolve(name) is not None
    assert server.asked == ["a", "b", "c", "a"]


async def test_the_systems_resolver_answers_for_this_machine() -> None:
    resolver = Resolver(socket.AF_INET)
    assert await resolver.resolve("localhost") == "127.0.0.1"
    assert await resolver.resolve("a name with\0nul") is None
