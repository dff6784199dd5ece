"""The messages of real clients, as they went over a wire, with answers that these clients can use."""

import itertools
import json
import re
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conformance.observed import publications, subscriptions
from tests.conformance.rewriting import with_uri, with_value, without
from tests.conformance.stream import stream_to
from tests.phone import Dialog, MakePhone, Message, Phone, learn, parameter, pidf
from tests.running_set import RunningSet
from tests.vectors import FOLDER, Vector, needs_vectors, vectors

pytestmark = needs_vectors

SHAPES = vectors("client")
CAPTURES = FOLDER / "client-captures"


# shapes of many clients


@pytest.mark.parametrize("vector", SHAPES, ids=str)
async def test_a_message_of_a_client_gets_the_answer_that_the_index_expects(
    running_set: RunningSet, make_phone: MakePhone, vector: Vector
) -> None:
    data = vector.data
    statuses = {int(word.removeprefix("response:")) for word in vector.expected if word.startswith("response:")}
    if vector.expected == ["response-example"]:
        statuses = {481}
    if b"@" not in data.split(b" ")[1] and b";tag=" not in Message.read(data)["to"].encode():
        statuses.add(404)  # no user, no presentity: that comes before what is wrong with the body
    assert statuses
    phone = await make_phone(running_set)
    if b"\r\nContent-Length:" not in data:
        # What has no length went by UDP. Its NOTIFY is to come here and not to the address in the Contact.
        data = with_value(data, "Contact", contact_at(data, phone))
        branch = Message.read(data).branch
        phone.send(data)
        answer = await phone.next_response(branch)
        assert answer.status in statuses
        assert (await phone.next_notify())["content-type"] == "application/pidf+xml"
        return
    async with stream_to(running_set) as stream:
        stream.writer.write(data)
        answer = await stream.message()
        assert answer.status in statuses
        if answer.status == 489:
            assert answer["allow-events"]
        if answer.status == 200 and data.startswith(b"PUBLISH "):
            assert answer["sip-etag"]
            assert int(answer["expires"]) <= int(Message.read(data)["expires"])
        if answer.status == 200 and data.startswith(b"SUBSCRIBE "):
            notify = await stream.message()
            assert notify["call-id"] == answer["call-id"]
            stream.writer.write(phone.response(notify, 481))


def contact_at(data: bytes, phone: Phone) -> str:
    """The Contact of the message with the phone's address in place of the client's."""
    host, port = phone.local
    contact = Message.read(data)["contact"]
    return re.sub(r"(<sips?:(?:[^@>]*@)?)[^;>]*", rf"\g<1>{host}:{port}", contact, count=1)


# whole runs of clients


@dataclass(frozen=True)
class Run:
    """What one client sent in one scenario, in order."""

    client: str
    scenario: str
    transport: str
    messages: tuple[dict[str, Any], ...]

    def __str__(self) -> str:
        return f"{self.client} {self.transport}: {self.scenario}"

    def data(self, entry: dict[str, Any]) -> bytes:
        """The octets of one message."""
        octets: bytes = (CAPTURES / entry["file"]).read_bytes()
        return octets


def runs() -> list[Run]:
    """The runs of the captures. Of a pair of requests, challenged and with credentials, the second is the request."""
    path = CAPTURES / "index.json"
    if not path.exists():
        return []
    entries = json.loads(path.read_text(encoding="utf-8"))

    def run_of(entry: dict[str, Any]) -> tuple[str, str, str]:
        return entry["client"], entry["scenario"], entry["transport"]

    found = []
    for (client, scenario, transport), group in itertools.groupby(sorted(entries, key=run_of), key=run_of):
        ordered = sorted(group, key=lambda entry: int(entry["n"]))
        answered = [
            entry
            for entry, after in itertools.zip_longest(ordered, ordered[1:])
            if after is None or after["kind"] != f"{entry['kind']}, with credentials"
        ]
        found.append(Run(client, scenario, transport, tuple(answered)))
    return found


class Replay:
    """One client at work: it uses the tag, the dialog and the target that the server gave it."""

    def __init__(self, run: Run, phone: Phone) -> None:
        self.run = run
        self.phone = phone
        self.tags: dict[str, str] = {}
        self.published: set[str] = set()
        self.dialogs: dict[str, Dialog] = {}
        answers = [entry for entry in run.messages if entry["message"] == "200-NOTIFY"]
        if answers:
            template = run.data(answers[0])
            phone.answer = lambda notify: self.answer(template, notify)

    @staticmethod
    def answer(template: bytes, notify: Message) -> bytes:
        """The client's own 200, for this NOTIFY."""
        data = without(template, "Via")
        for name in ("Call-ID", "From", "To", "CSeq"):
            data = with_value(data, name, notify[name])
        line, _, rest = data.partition(b"\r\n")
        return line + b"\r\n" + f"Via: {notify['via']}\r\n".encode() + rest

    async def send(self, data: bytes) -> Message:
        """The answer to a message of the client."""
        branch = Message.read(data).branch
        self.phone.send(data)
        return await self.phone.next_response(branch)

    async def publish(self, entry: dict[str, Any]) -> None:
        data, event = self.run.data(entry), entry["event"]
        tag = self.tags.get(event)
        if "SIP-If-Match" in data.decode():
            assert tag is not None
            data = with_value(data, "SIP-If-Match", tag)
        response = await self.send(data)
        if tag is not None and event not in self.published:
            assert response.status == 412, entry
            return
        assert response.status == 200, entry
        assert response["sip-etag"] != tag
        self.tags[event] = response["sip-etag"]
        (self.published.discard if response["expires"] == "0" else self.published.add)(event)

    async def subscribe(self, entry: dict[str, Any]) -> None:
        data = self.run.data(entry)
        if self.phone.transport == "udp":
            data = with_value(data, "Contact", contact_at(data, self.phone))
        request, event = Message.read(data), entry["event"]
        if entry["kind"].startswith("initial"):
            dialog = self.dialogs[event] = Dialog(
                request["to"].strip("<>"), request["call-id"], parameter(request["from"], "tag") or "", 1
            )
        else:
            dialog = self.dialogs[event]
            data = with_value(with_uri(data, dialog.target), "To", f"<{dialog.presentity}>;tag={dialog.to_tag}")
        response = await self.send(data)
        assert response.status == 200, entry
        learn(dialog, response)
        ended = entry["expires"] == "0"
        notify = await self.phone.notify_where(lambda notify: (notify.state == "terminated") is ended)
        assert notify["call-id"] == dialog.call_id
        assert notify["event"] == event
        if ended:
            del self.dialogs[event]

    async def other(self, entry: dict[str, Any]) -> None:
        """REGISTER, as a small site has it (`registrar=on`), and OPTIONS."""
        assert (await self.send(self.run.data(entry))).status == 200


@pytest.mark.parametrize("run", runs(), ids=str)
async def test_a_whole_run_of_a_client_works(running_set: RunningSet, make_phone: MakePhone, run: Run) -> None:
    phone = await make_phone(running_set, transport=run.transport)
    replay = Replay(run, phone)
    presentities = set()
    for entry in run.messages:
        if entry["message"] == "PUBLISH":
            presentities.add((Message.read(run.data(entry)).start.split(" ")[1], entry["event"]))
            await replay.publish(entry)
        elif entry["message"] == "SUBSCRIBE":
            await replay.subscribe(entry)
        elif entry["message"] != "200-NOTIFY":
            await replay.other(entry)
    assert presentities
    # This pjsua was ended before it could unsubscribe from its mailbox.
    assert set(replay.dialogs) == (
        {"message-summary"} if str(run).startswith("pjsua udp: message waiting") else set()
    )
    for uri, event in presentities:
        left = await publications(running_set, uri, event)
        assert [item["etag"] for item in left] == [replay.tags[event]] * (event in replay.published)
        left = await subscriptions(running_set, uri)
        assert {item["call_id"] for item in left} == {dialog.call_id for dialog in replay.dialogs.values()}
    answer = await phone.request(phone.publish(body=pidf()))
    assert answer.status == 200
