"""A load as a server has it on a working day, at a rate that does not follow the answers, and what its clients saw.

Most of it changes and refreshes publications; watchers refresh, leave, come anew, fetch; some publications and
subscriptions are left to expire; some watchers ask who watches. Each client does one thing at a time.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from tests.phone import Dialog, Message, Phone, learn, pidf, token
from tests.running_set import RunningSet
from tests.system.load import read_state
from tests.wait import until_true

PHONES = 12
PATIENCE = 40.0
T1, T2 = 0.5, 4.0
LASTING, BRIEF = 3600, 60
"""Seconds that clients ask for: what is refreshed or ended by them, and what is left to expire."""
WATCHERS = 2
"""Of each presentity; every tenth one has a watcher of its watchers besides."""
KEPT_TIMES = 16
AT_ONCE = 32
"""Requests under way while clients are made, and while the peak is looked for."""
MOST_AT_ONCE = 500
"""Requests under way beyond which the rate is not held."""
CONVERGED_WITHIN = 120.0


class Line(Phone):
    """A socket of many clients that keeps nothing of what is over."""

    def __init__(self, server: tuple[str, int], transport: str) -> None:
        super().__init__(server, transport, token("u"))
        self._open: dict[str, asyncio.Future[Message]] = {}

    def _take(self, data: bytes) -> None:
        if not data.strip(b"\r\n"):
            return
        message = Message.read(data)
        if not message.is_response:
            answer = self.answer(message)
            assert isinstance(answer, int)
            self.send(self.response(message, answer))
        elif message.status >= 200:
            waiting = self._open.get(message.branch)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)

    async def ask(self, data: bytes, branch: str) -> Message | None:
        """The final response; None where none came. Over UDP the request is sent again as RFC 3261 has it."""
        answered: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._open[branch] = answered
        interval = T1
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    self.send(data)
                    wait = interval if self.transport == "udp" else PATIENCE
                    await asyncio.wait([answered], timeout=wait)
                    if answered.done():
                        return answered.result()
                    interval = min(2 * interval, T2)
        except TimeoutError:
            return None
        finally:
            del self._open[branch]


@dataclass
class Source:
    """A presentity's device."""

    line: Line
    aor: str
    etag: str | None = None
    publication: str = ""
    number: int = 0
    cseq: int = 0
    sent: deque[tuple[str, int, float]] = field(default_factory=lambda: deque(maxlen=KEPT_TIMES))
    """Its last states, publication and number, and when they left."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class Watch:
    """A subscription that its watcher keeps."""

    line: Line
    source: Source
    event: str
    dialog: Dialog | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class Shown:
    """What a dialog was shown."""

    source: Source
    event: str
    cseq: int = 0
    state: Mapping[str, int] = field(default_factory=dict)
    over: bool = False


class MixedLoad:
    """The clients, what they do, and what came of it."""

    def __init__(self, running: RunningSet, presentities: int, seed: int) -> None:
        self._chance = random.Random(seed)
        self._lines = [Line(running.sip, ("udp", "udp", "tcp")[number % 3]) for number in range(PHONES)]
        name = token("s")
        self.sources = [
            Source(self._lines[number % PHONES], f"sip:{name}{number}@example.com") for number in range(presentities)
        ]
        self.watches = [
            Watch(self._lines[self._chance.randrange(PHONES)], source, "presence")
            for source in self.sources
            for _ in range(WATCHERS)
        ]
        self.watches += [
            Watch(self._lines[self._chance.randrange(PHONES)], source, "presence.winfo")
            for source in self.sources[::10]
        ]
        self._shown: dict[str, Shown] = {}
        self.answers: Counter[str] = Counter()
        """Final answers, as `PUBLISH 200`; `PUBLISH none` is a request that got none."""
        self.faults: list[str] = []
        """NOTIFYs that took a watcher back, or whose CSeq was used before."""
        self.notifies = 0
        self.publish_seconds: list[float] = []
        self.notify_seconds: list[float] = []
        """From a PUBLISH leaving until a watcher was shown what it says."""
        self.late = 0
        """Requests that did not leave on time, since too many were under way."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._errors: list[BaseException] = []
        self._actions: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self._change, 52),
            (self._refresh_publication, 14),
            (self._remove, 5),
            (self._brief_publication, 3),
            (self._refresh_subscription, 13),
            (self._leave, 5),
            (self._brief_subscription, 3),
            (self._fetch, 5),
        ]

    @property
    def presentities(self) -> list[str]:
        """Who is published."""
        return [source.aor for source in self.sources]

    async def start(self) -> None:
        """Open the sockets; publish and subscribe for every client."""
        for line in self._lines:
            line.answer = self._notified
            await line.open()
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(action: Awaitable[None]) -> None:
            async with turn:
                await action

        await asyncio.gather(*(one(self._publish(source)) for source in self.sources))
        await asyncio.gather(*(one(self._subscribe(watch)) for watch in self.watches))

    async def close(self) -> None:
        """Close the sockets."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(line.close() for line in self._lines))

    # rates

    async def as_fast_as_it_goes(self, seconds: float) -> float:
        """Requests each second that are answered while so many are always under way."""
        ends = time.monotonic() + seconds
        before = self.answers.total()

        async def worker() -> None:
            while time.monotonic() < ends:
                await self._act()

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
        return (self.answers.total() - before) / seconds

    async def at_a_rate(self, rate: float, seconds: float) -> None:
        """So many requests each second for so long, whether or not those before are answered."""
        begun = time.monotonic()
        for number in range(int(rate * seconds)):
            pause = begun + number / rate - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            if len(self._tasks) >= MOST_AT_ONCE:
                self.late += 1
                continue
            task = asyncio.create_task(self._act())
            self._tasks.add(task)
            task.add_done_callback(self._ended)
            if self._errors:
                raise self._errors[0]

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._errors.append(error)

    async def rest(self) -> None:
        """Return when nothing is under way."""
        await until_true(lambda: not self._tasks, "every request is answered", deadline=2 * PATIENCE)

    async def _act(self) -> None:
        actions, weights = zip(*self._actions, strict=True)
        await self._chance.choices(actions, weights)[0]()

    # actions

    async def _change(self) -> None:
        await self._with_source(self._publish)

    async def _with_source(self, action: Callable[[Source], Awaitable[None]]) -> None:
        source = self._chance.choice(self.sources)
        async with source.turn:
            await action(source)

    async def _with_watch(self, action: Callable[[Watch], Awaitable[None]]) -> None:
        watch = self._chance.choice(self.watches)
        async with watch.turn:
            await action(watch)

    async def _publish(self, source: Source) -> None:
        if source.etag is None:
            source.publication, source.number = token("p"), 0
        source.number += 1
        source.sent.append((source.publication, source.number, time.monotonic()))
        await self._ask_publish(source, pidf(source.aor, note=f"{source.publication} {source.number}"), LASTING)

    async def _refresh_publication(self) -> None:
        await self._with_source(lambda s: self._ask_publish(s, b"", LASTING) if s.etag else self._publish(s))

    async def _remove(self) -> None:
        await self._with_source(lambda s: self._ask_publish(s, b"", 0) if s.etag else self._publish(s))

    async def _ask_publish(self, source: Source, body: bytes, expires: int) -> None:
        source.cseq += 1
        branch = token("z9hG4bK")
        data = source.line.publish(
            source.aor, body=body, expires=expires, if_match=source.etag, cseq=source.cseq, branch=branch
        )
        begun = time.monotonic()
        response = await source.line.ask(data, branch)
        self._count("PUBLISH", response)
        if response is not None and response.status == 200:
            self.publish_seconds.append(time.monotonic() - begun)
            source.etag = response["sip-etag"] if expires else None
        elif response is None or response.status == 412:
            source.etag = None

    async def _brief_publication(self) -> None:
        source = self._chance.choice(self.sources)
        branch = token("z9hG4bK")
        body = pidf(source.aor, note=f"{token('b')} 1", tuple_id=token("t"))
        data = source.line.publish(source.aor, body=body, expires=BRIEF, branch=branch)
        self._count("PUBLISH", await source.line.ask(data, branch))

    async def _subscribe(self, watch: Watch, expires: int = LASTING) -> None:
        dialog = watch.dialog or watch.line.dialog(watch.source.aor)
        response = await self._ask_subscribe(watch, dialog, expires)
        if response is None or response.status >= 300:
            watch.dialog = None
            return
        learn(dialog, response)
        watch.dialog = dialog if expires else None

    async def _ask_subscribe(self, watch: Watch, dialog: Dialog, expires: int) -> Message | None:
        self._shown.setdefault(dialog.call_id, Shown(watch.source, watch.event))
        branch = token("z9hG4bK")
        accept = "application/pidf+xml" if watch.event == "presence" else "application/watcherinfo+xml"
        data = watch.line.subscribe(dialog, expires=expires, event=watch.event, accept=accept, branch=branch)
        response = await watch.line.ask(data, branch)
        self._count("SUBSCRIBE", response)
        if response is None or response.status >= 300:
            self._shown.pop(dialog.call_id, None)
        return response

    async def _refresh_subscription(self) -> None:
        await self._with_watch(self._subscribe)

    async def _leave(self) -> None:
        async def again(watch: Watch) -> None:
            if watch.dialog is not None:
                await self._subscribe(watch, 0)
            await self._subscribe(watch)

        await self._with_watch(again)

    async def _brief_subscription(self) -> None:
        watch = self._chance.choice(self.watches)
        await self._ask_subscribe(watch, watch.line.dialog(watch.source.aor), BRIEF)

    async def _fetch(self) -> None:
        watch = self._chance.choice(self.watches)
        await self._ask_subscribe(watch, watch.line.dialog(watch.source.aor), 0)

    def _count(self, method: str, response: Message | None) -> None:
        self.answers[f"{method} {'none' if response is None else response.status}"] += 1

    # NOTIFYs

    def _notified(self, request: Message) -> int:
        now = time.monotonic()
        shown = self._shown.get(request["call-id"])
        if shown is None:
            return 481
        cseq = int(request["cseq"].split()[0])
        if cseq <= shown.cseq:
            return 200 if cseq == shown.cseq else 500
        if shown.over:
            self.faults.append(f"{request['call-id']}: CSeq {cseq} after the end")
        shown.cseq = cseq
        self.notifies += 1
        if shown.event == "presence" and request.body:
            self._show(shown, read_state(request.body) or {}, now)
        if request.state == "terminated":
            shown.over = True
            asyncio.get_running_loop().call_later(PATIENCE, self._shown.pop, request["call-id"], None)
        return 200

    def _show(self, shown: Shown, state: Mapping[str, int], now: float) -> None:
        source = shown.source
        for publication, number in state.items():
            before = shown.state.get(publication, 0)
            if number < before:
                self.faults.append(f"{source.aor}: {publication} from {before} back to {number}")
            elif number > before > 0:
                self.notify_seconds += [now - at for *sent, at in source.sent if sent == [publication, number]]
        shown.state = state

    # the end

    def latencies(self) -> tuple[list[float], list[float]]:
        """Seconds of PUBLISH and of PUBLISH to NOTIFY since the last call."""
        found = sorted(self.publish_seconds), sorted(self.notify_seconds)
        self.publish_seconds, self.notify_seconds = [], []
        return found

    def refused(self) -> dict[str, int]:
        """Answers other than 200 and 202 (RFC 3265: watcher information), and how often."""
        return {name: count for name, count in self.answers.items() if name.split()[1] not in ("200", "202")}

    def differences(self, stored: Mapping[str, Mapping[str, int]]) -> list[str]:
        """The kept subscriptions that were last shown something else than what is stored of their presentity."""
        found = []
        for watch in self.watches:
            if watch.dialog is None or watch.event != "presence":
                continue
            shown = self._shown.get(watch.dialog.call_id)
            expected = stored.get(watch.source.aor, {})
            if shown is None or dict(shown.state) != dict(expected):
                state = None if shown is None else dict(shown.state)
                found.append(
                    f"{watch.source.aor}: {watch.dialog.call_id} ends with {state}, stored is {dict(expected)}"
                )
        return found

    async def converges(self, stored: Callable[[], Awaitable[Mapping[str, Mapping[str, int]]]]) -> list[str]:
        """Return when every watcher was shown what is stored; the differences that are left after a while."""
        ends = time.monotonic() + CONVERGED_WITHIN
        while (found := self.differences(await stored())) and time.monotonic() < ends:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 0.5)
        return found
