"""Responses that the kernel gave to the wrong one of several edges (docs/decisions/0007)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import pytest

from sip_edge.domain.branches import make_branch
from sip_edge.flows import foreign_responses as foreign_responses_module
from sip_edge.flows.foreign_responses import ForeignResponses
from tests.unit.rpc.serving import hello, peers_of, served_together
from tests.wait import until_true
from vedette.rpc.client import Peers
from vedette.rpc.contract import DATAGRAMS, DatagramBatch, ForeignDatagram
from vedette.sip.flow import Flow
from vedette.sip.message import Response
from vedette.sip.reader import read_message

FLOW = Flow("udp", "192.0.2.7", 5062)


@dataclass
class Sibling:
    """An edge that shares our port."""

    instance: str
    got: list[list[ForeignDatagram]] = field(default_factory=list)
    fails: bool = False

    async def __call__(self, body: bytes) -> bytes:
        if self.fails:
            raise RuntimeError("a fault")
        self.got.append(msgspec.msgpack.decode(body, type=DatagramBatch).datagrams)
        return b""


def response(branch: str) -> tuple[Response, bytes]:
    data = (
        f"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch={branch}\r\nFrom: <sip:a@b>;tag=1\r\n"
        "To: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 NOTIFY\r\nContent-Length: 0\r\n\r\n"
    ).encode()
    read = read_message(data)
    assert isinstance(read, Response)
    return read, data


@asynccontextmanager
async def passing(*siblings: Sibling) -> AsyncIterator[tuple[ForeignResponses, Peers]]:
    """The flow of the edge `me`, not yet running."""
    async with (
        served_together(*({DATAGRAMS: sibling} for sibling in siblings)) as heres,
        peers_of(*(here.address for here in heres)) as peers,
    ):
        for sibling, here in zip(siblings, heres, strict=True):
            here.me = hello(sibling.instance)
        await peers.probe()
        yield ForeignResponses(peers, "me"), peers


@asynccontextmanager
async def running(foreign: ForeignResponses) -> AsyncIterator[None]:
    task = asyncio.create_task(foreign.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_each_response_goes_to_the_process_that_its_branch_names_in_one_batch() -> None:
    one, two = Sibling("one"), Sibling("two")
    async with passing(one, two) as (foreign, _):
        datagrams = {name: response(make_branch(name[:3], 1 + len(name))) for name in ("one", "one again", "two")}
        for read, data in datagrams.values():
            foreign.pass_on(read, data, FLOW)
        async with running(foreign):
            await until_true(lambda: foreign.passed_on == 3, "all are passed on")
    assert one.got == [[ForeignDatagram(datagrams[name][1], FLOW) for name in ("one", "one again")]]
    assert two.got == [[ForeignDatagram(datagrams["two"][1], FLOW)]]
    assert foreign.dropped == 0


@pytest.mark.parametrize("branch", ["z9hG4bKphone", make_branch("me", 1), make_branch("gone", 1), "", "z9hG4bK.1"])
async def test_a_response_without_an_owner_that_can_be_told_is_dropped(branch: str) -> None:
    sibling = Sibling("one")
    async with passing(sibling) as (foreign, _):
        foreign.pass_on(*response(branch), FLOW)
        assert (foreign.dropped, foreign._waiting) == (1, {})


async def test_too_many_are_dropped_and_the_count_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_responses_module, "MAX_WAITING", 2)
    sibling = Sibling("one")
    async with passing(sibling) as (foreign, _):
        for number in range(3):
            foreign.pass_on(*response(make_branch("one", number)), FLOW)
        assert foreign.dropped == 1
        async with running(foreign):
            await until_true(lambda: foreign.passed_on == 2, "the others are passed on")
            foreign.pass_on(*response(make_branch("one", 3)), FLOW)
            await until_true(lambda: foreign.passed_on == 3, "so is the next")
    assert foreign.dropped == 1


async def test_a_sibling_that_fails_or_has_become_another_gets_nothing_and_stops_nothing() -> None:
    failing, fine = Sibling("one", fails=True), Sibling("two")
    async with passing(failing, fine) as (foreign, peers), running(foreign):
        for instance in ("one", "two"):
            foreign.pass_on(*response(make_branch(instance, 1)), FLOW)
        await until_true(lambda: foreign.passed_on + foreign.dropped == 2, "both are dealt with")
        assert (foreign.passed_on, foreign.dropped) == (1, 1)
        peer = peers.by_instance("two")
        assert peer is not None
        peer.hello = hello("three")
        foreign.pass_on(*response(make_branch("three", 1)), FLOW)
        await until_true(lambda: foreign.dropped == 2, "another instance refuses it")
    assert len(fine.got) == 1


async def test_a_sibling_that_is_gone_meanwhile_gets_nothing() -> None:
    async with passing(Sibling("one")) as (foreign, peers):
        foreign.pass_on(*response(make_branch("one", 1)), FLOW)
        peers._peers.clear()
        async with running(foreign):
            await until_true(lambda: foreign.dropped == 1, "it is dropped")
