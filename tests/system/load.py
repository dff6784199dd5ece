"""A small load: publishers that change, refresh and remove, watchers that stay and watchers that come and go.

Each behaves as a phone does: over UDP it retransmits, over TCP it connects again when its connection breaks, at a
503 it waits for as long as it is asked to. What they send, get and see is in the history.
"""

import asyncio
import contextlib
import random
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

from tests.phone import Dialog, Message, Phone, learn, parameter, pidf, token
from tests.running_set import RunningSet
from tests.second_look import PromiseBrokenError
from tests.system.history import (
    ChangeAnswered,
    ChangeSent,
    DialogLeft,
    DialogMoved,
    History,
    NotifyAnswered,
    NotifyReceived,
    ResponseReceived,
    State,
    SubscribeAnswered,
    SubscribeSent,
    not_converged,
    violations,
)
from tests.system.relay import Relay
from tests.wait import until, until_true

PRESENTITIES = 4
PACE = 0.03
"""Seconds between an answer and the next request of a client."""
T1, T2 = 0.2, 2.0
PATIENCE = 40.0
"""Seconds until a request without a final answer is given up; longer than Timer F of a phone."""
DEADLINE = 60.0
GONE_FOR_GOOD = 3.0
"""Seconds after which a watcher that unsubscribed waits no more for the last NOTIFY, where the server may have lost
its request, and takes no other one. Timer N (RFC 6665 section 4.1.2) would be longer than the test."""
RECONNECT_PAUSE = 0.05
IGNORED = 0.05
"""The part of the NOTIFYs whose first copy a watcher over UDP does not answer, as if it had been lost."""

Habit = Literal["quiet", "steady", "restless"]

_STATE = re.compile(rb"<note>(\S+) (\d+)</note>")


def read_state(body: bytes) -> State | None:
    """The publications and numbers that a document shows; None without a document."""
    if not body:
        return None
    return {name.decode(): int(number) for name, number in _STATE.findall(body)}


class LostConnectionError(Exception):
    """The connection broke before there was an answer."""


class Line:
    """A client's way to the server: one phone, or one after the other where connections break."""

    def __init__(
        self, running: RunningSet, transport: str, user: str, history: History, relay: Relay | None = None
    ) -> None:
        """Over UDP through the relay, where there is one."""
        self.history = history
        self.user = user
        self.transport = transport
        self._waiting_since: float | None = None
        self._running = running
        self._relay = relay if transport == "udp" else None
        self.phone = Phone(running.sip, transport, user)

    def waits_for(self) -> float:
        """Seconds since the request left that is not answered yet; 0 where all are."""
        return 0.0 if self._waiting_since is None else asyncio.get_running_loop().time() - self._waiting_since

    async def open(self, answer: Callable[[Message], Any]) -> None:
        """Open a socket, for UDP the only one; NOTIFYs are answered by `answer`."""
        await self.phone.close()
        while True:
            self.phone = await self._new_phone()
            self.phone.answer = answer
            try:
                await self.phone.open()
            except OSError:
                await asyncio.sleep(RECONNECT_PAUSE)
            else:
                return

    async def _new_phone(self) -> Phone:
        if self._relay is None:
            return Phone(self._running.sip, self.transport, self.user)
        leg = await self._relay.leg(self.user)
        phone = Phone(leg.phone_side, self.transport, self.user)
        phone.advertised = leg.server_side
        return phone

    async def ask(self, data: bytes) -> Message:
        """The final response. Raises LostConnectionError."""
        head = Message.read(data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        self._waiting_since = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(PATIENCE):
                response = await (self._over_udp if self.transport == "udp" else self._over_tcp)(data, head.branch)
        except TimeoutError:
            raise AssertionError(f"{self.user}: no final response to\n{data.decode()}") from None
        finally:
            self._waiting_since = None
        self.history.record(ResponseReceived(self.user, head.method, response.status, response.get("retry-after")))
        return response

    async def _over_udp(self, data: bytes, branch: str) -> Message:
        interval = T1
        while True:
            self.phone.send(data)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    return await self._final(branch)
            interval = min(2 * interval, T2)

    async def _over_tcp(self, data: bytes, branch: str) -> Message:
        self.phone.send(data)
        answered = asyncio.ensure_future(self._final(branch))
        closed = asyncio.ensure_future(self.phone.closed.wait())
        try:
            await asyncio.wait([answered, closed], return_when=asyncio.FIRST_COMPLETED)
            if answered.done():
                return answered.result()
        finally:
            for task in (answered, closed):
                task.cancel()
            await asyncio.gather(answered, closed, return_exceptions=True)
        raise LostConnectionError

    async def _final(self, branch: str) -> Message:
        while True:
            response = await self.phone.next_response(branch, PATIENCE)
            if response.status >= 200:
                return response


async def wait_as_asked(response: Message) -> None:
    """The pause after an answer: what Retry-After says, or just the pace."""
    await asyncio.sleep(float(response.get("retry-after") or PACE))


class Publisher:
    """One device of a presentity; has at most one publication at a time."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.aor = f"sip:{line.user}@example.com"
        self.acknowledged = 0
        self.stopping = False
        self._history = line.history
        self._random = random.Random(line.user)
        self._call_id = token()
        self._cseq = 0
        self._publications = 0
        self._publication = ""
        self._number = 0
        self._etag: str | None = None

    async def run(self) -> None:
        """Change until `stopping`; ends with a publication."""
        await self.line.open(lambda _: 405)
        while not (self.stopping and self._etag):
            await wait_as_asked(await self._step())

    async def _step(self) -> Message:
        chance = self._random.random()
        if self._etag is None:
            self._publications += 1
            self._publication, self._number = f"{self.line.user}.{self._publications}", 0
            return await self._change()
        if chance < 0.1:
            return await self._publish(b"", 600)
        return await self._change(removes=chance < 0.2 and not self.stopping)

    async def _change(self, *, removes: bool = False) -> Message:
        self._number += 1
        publication, number = self._publication, self._number
        self._history.record(ChangeSent(self.aor, publication, number, removes))
        body = b"" if removes else pidf(self.aor, note=f"{publication} {number}")
        response = await self._publish(body, 0 if removes else 600)
        self._history.record(ChangeAnswered(publication, number, response.status))
        if 200 <= response.status < 300:
            self.acknowledged += 1
            if removes:
                self._etag = None
        return response

    async def _publish(self, body: bytes, expires: int) -> Message:
        self._cseq += 1
        data = self.line.phone.publish(
            self.aor, body=body, expires=expires, if_match=self._etag, cseq=self._cseq, call_id=self._call_id
        )
        response = await self._ask(data)
        if 200 <= response.status < 300:
            self._etag = response["sip-etag"]
        elif response.status == 412:
            self._etag = None
        return response

    async def _ask(self, data: bytes) -> Message:
        while True:
            try:
                return await self.line.ask(data)
            except LostConnectionError:
                # The same request again: whatever became of the first one, it has one effect and one answer.
                await self.line.open(lambda _: 405)


class Watcher:
    """One device that watches.

    A quiet one subscribes once, a steady one refreshes all the time, a restless one also unsubscribes and subscribes
    anew.
    """

    def __init__(self, line: Line, presentity: str, habit: Habit, *, lossy: bool = False) -> None:
        self.line = line
        self._lossy = lossy
        self.presentity = presentity
        self.told = 0
        self.stopping = False
        self.resting = False
        """Whether it asks for nothing any more: its subscription stays as it is."""
        self._habit = habit
        self._history = line.history
        self._random = random.Random(presentity + line.transport)
        self._dialog: Dialog | None = None
        self._ended: dict[str, asyncio.Event] = {}
        self._highest: dict[str, int] = {}
        self._ignored: set[tuple[str, int]] = set()

    async def run(self) -> None:
        """Subscribe, refresh and so on for ever; after `stopping` only where the connection broke."""
        await self.line.open(self._notified)
        while True:
            try:
                await self._step()
            except LostConnectionError:
                await self._move()

    async def _step(self) -> None:
        if self._dialog is None:
            await self._subscribe(self.line.phone.dialog(self.presentity))
        elif self.stopping or self._habit == "quiet":
            self.resting = True
            try:
                await self.line.phone.closed.wait()
            finally:
                self.resting = False
            raise LostConnectionError
        elif self._habit == "restless" and self._random.random() < 0.3:
            await self._unsubscribe(self._dialog)
        else:
            await self._subscribe(self._dialog)

    async def _move(self) -> None:
        """Connect again and tell the server where we are now: the flow of a dialog is that of its last SUBSCRIBE."""
        await self.line.open(self._notified)
        if self._dialog is not None:
            self._history.record(DialogMoved(self._dialog.call_id))
            with contextlib.suppress(LostConnectionError):
                await self._subscribe(self._dialog)

    async def _subscribe(self, dialog: Dialog, expires: int = 600) -> Message:
        call_id = dialog.call_id
        self._ended.setdefault(call_id, asyncio.Event())
        self._history.record(SubscribeSent(self.presentity, call_id, expires, self.line.user))
        try:
            response = await self.line.ask(self.line.phone.subscribe(dialog, expires=expires))
        except LostConnectionError:
            dialog.cseq += 1
            if dialog is not self._dialog or not expires:
                self._history.record(DialogLeft(call_id))
                self._dialog = None
            raise
        tag = (response.to_tag or "") if response.status == 200 else ""
        self._history.record(SubscribeAnswered(call_id, response.status, tag))
        if response.status == 200:
            learn(dialog, response)
            self._dialog = dialog if expires else None
        else:
            dialog.cseq += 1
            if response.status == 481:
                self._dialog = None
        await wait_as_asked(response)
        return response

    async def _unsubscribe(self, dialog: Dialog) -> None:
        """End the subscription and wait for its last NOTIFY."""
        response = await self._subscribe(dialog, expires=0)
        if response.status == 200:
            ended = self._ended[dialog.call_id]
            if self._lossy:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), GONE_FOR_GOOD)
                ended.set()
                return
            await until_true(
                lambda: ended.is_set() or self.line.phone.closed.is_set(),
                f"the last NOTIFY of dialog {dialog.call_id}",
                deadline=DEADLINE,
            )

    async def _notified(self, request: Message) -> int | None:
        """Record a NOTIFY and answer it, sometimes a little later and sometimes only when it comes again."""
        call_id, cseq = request["call-id"], int(request["cseq"].split()[0])
        if request.method != "NOTIFY" or call_id not in self._ended:
            return 481
        tag = parameter(request["from"], "tag") or ""
        self._history.record(
            NotifyReceived(call_id, cseq, request.branch, request.state, read_state(request.body), tag)
        )
        if self._ended[call_id].is_set() and request.state != "terminated":
            return 481
        if cseq < self._highest.get(call_id, 0):
            return 500
        self._highest[call_id] = cseq
        if self.line.transport == "udp" and (call_id, cseq) not in self._ignored and self._random.random() < IGNORED:
            self._ignored.add((call_id, cseq))
            return None
        await asyncio.sleep(self._random.random() * PACE)
        self.told += 1
        if request.state == "terminated":
            self._ended[call_id].set()
            if self._dialog is not None and self._dialog.call_id == call_id:
                self._dialog = None
        self._history.record(NotifyAnswered(call_id, cseq))
        return 200


class Load:
    """Publishers and watchers at work; `history` is what they know."""

    def __init__(self, running: RunningSet, relay: Relay | None = None, *, lossy: bool = False) -> None:
        """`lossy`: the server may lose what it acknowledged, so that the CSeqs of its last NOTIFYs may be too low."""
        self.history = History()
        self._running = running
        self._relay = relay
        self._tasks: list[asyncio.Task[None]] = []
        self.publishers: list[Publisher] = []
        self.watchers: list[Watcher] = []
        for number in range(PRESENTITIES):
            publisher = Publisher(self._line(("udp", "tcp")[number % 2], token("p")))
            self.publishers.append(publisher)
            self.watchers += [
                Watcher(self._line("udp", token("w")), publisher.aor, "quiet", lossy=lossy),
                Watcher(self._line("tcp", token("w")), publisher.aor, "steady", lossy=lossy),
                Watcher(self._line(("tcp", "udp")[number % 2], token("w")), publisher.aor, "restless", lossy=lossy),
            ]

    def _line(self, transport: str, user: str) -> Line:
        return Line(self._running, transport, user, self.history, self._relay)

    @property
    def clients(self) -> list[Publisher | Watcher]:
        """All of them."""
        return [*self.publishers, *self.watchers]

    async def start(self) -> None:
        """Start them, and return when all are at work."""
        self._tasks = [asyncio.create_task(client.run()) for client in self.clients]
        await self.goes_on()

    async def goes_on(self, times: int = 5) -> None:
        """Return when every publisher had so many more changes acknowledged, and every watcher was told of some."""
        published = [publisher.acknowledged + times for publisher in self.publishers]
        told = [watcher.told + 2 for watcher in self.watchers]

        def laggards() -> list[str]:
            self._raise_failures()
            return [
                *(p.line.user for p, n in zip(self.publishers, published, strict=True) if p.acknowledged < n),
                *(f"{w.line.user} ({w.presentity})" for w, n in zip(self.watchers, told, strict=True) if w.told < n),
            ]

        try:
            await until_true(lambda: not laggards(), "the load goes on", deadline=DEADLINE)
        except AssertionError as error:
            raise AssertionError(f"{error}, but not at {laggards()}") from None

    async def somebody_waits(self, seconds: float, *, how_many: int = 1) -> None:
        """Return when so many clients have waited that long for an answer."""

        def wait() -> bool:
            self._raise_failures()
            return sum(client.line.waits_for() >= seconds for client in self.clients) >= how_many

        await until_true(wait, f"{how_many} clients wait for {seconds:g} s")

    async def converges(self) -> dict[str, State]:
        """End the changes; return what is stored when every watcher has been told of it.

        PromiseBrokenError where one has not been within DEADLINE after the last change.
        """
        for client in self.clients:
            client.stopping = True
        publishing = self._tasks[: len(self.publishers)]

        def settled() -> bool:
            self._raise_failures()
            return (
                all(task.done() for task in publishing)
                and all(watcher.resting for watcher in self.watchers)
                and len(self.history.open_dialogs()) == len(self.watchers)
            )

        await until_true(settled, "every publisher has ended and every watcher has a subscription", deadline=DEADLINE)
        stored = await self.stored()

        async def differences() -> list[str]:
            self._raise_failures()
            return [*not_converged(self.history, stored)]

        async def converged() -> bool:
            return not await differences()

        try:
            await until(converged, "every watcher has the final state", deadline=DEADLINE)
        except AssertionError as error:
            raise PromiseBrokenError("\n".join([str(error), *await differences()])) from None
        return stored

    async def stored(self) -> dict[str, State]:
        """What Postgres has of each presentity, as the REST API reads it."""
        found: dict[str, State] = {}
        for publisher in self.publishers:
            view = await self._running.get(f"/api/v1/presentities/{publisher.aor}")
            bodies = b"".join(item["body"].encode() for item in view["publication_list"])
            found[publisher.aor] = read_state(bodies) or {}
        return found

    async def stored_dialogs(self) -> list[str]:
        """The Call-IDs of the dialogs that Postgres has of each presentity, those that are ending aside."""
        found: list[str] = []
        for publisher in self.publishers:
            query = {"presentity": publisher.aor}
            while True:
                page = await self._running.get("/api/v1/subscriptions", **query)
                found += [item["call_id"] for item in page["items"] if item["status"] != "terminated"]
                if page["next"] is None:
                    break
                query["cursor"] = page["next"]
        return found

    async def violations(self) -> list[str]:
        """Let the load come to its end: every promise to its clients that was not kept."""
        stored = await self.converges()
        return violations(self.history, stored, await self.stored_dialogs())

    async def keeps_its_promises(self) -> None:
        """Let the load come to its end; PromiseBrokenError with every promise to its clients that was not kept."""
        if broken := await self.violations():
            raise PromiseBrokenError("\n".join(broken))

    def _raise_failures(self) -> None:
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def close(self) -> None:
        """End all of them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self.clients:
            await client.line.phone.close()


@contextlib.asynccontextmanager
async def loaded(running: RunningSet, relay: Relay | None = None, *, lossy: bool = False) -> AsyncIterator[Load]:
    """A load at work on a set; where there is a relay, whoever speaks UDP does so through it. `lossy`: see Load."""
    load = Load(running, relay, lossy=lossy)
    try:
        await load.start()
        yield load
    finally:
        await load.close()
