"""Many phones on one UDP socket that read next to nothing of what comes, so that they cost little themselves.

Presentity `p` is watched by the watchers `p * watchers_each` and the `watchers_each - 1` after it. Each PUBLISH
carries its number in its note, by which a NOTIFY shows what its watcher now has. One clock, the monotonic one, sees
both ends.
"""

import contextlib
import gc
import heapq
import select
import socket
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

T1 = 0.5
T2 = 4.0
GIVE_UP = 32.0
"""Seconds; timers of RFC 3261 section 17.1.2."""
BUFFER = 16 * 1024 * 1024
SO_RCVBUFFORCE = 33
AT_ONCE = 256
"""Datagrams that are read before the clock is looked at."""
SLICE = 0.05
TOLD_EACH = 10.0
"""Seconds between two lines of progress."""

_PUBLISH = (
    b"PUBLISH sip:%(run)b-%(p)d@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 127.0.0.1:%(port)d;branch=z9hG4bKv%(n)d.%(run)b\r\nMax-Forwards: 70\r\n"
    b"From: <sip:%(run)b-%(p)d@example.com>;tag=f%(n)d\r\nTo: <sip:%(run)b-%(p)d@example.com>\r\n"
    b"Call-ID: p%(n)d-%(run)b\r\nCSeq: 1 PUBLISH\r\nContact: <sip:p%(p)d@127.0.0.1:%(port)d>\r\nEvent: presence\r\n"
    b"%(match)bExpires: 3600\r\nContent-Type: application/pidf+xml\r\nContent-Length: %(length)d\r\n\r\n%(body)b"
)
_BODY = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<presence xmlns="urn:ietf:params:xml:ns:pidf" '
    b'entity="sip:%(run)b-%(p)d@example.com"><tuple id="t%(p)d"><status><basic>open</basic></status>'
    b'<contact priority="0.8">sip:p%(p)d@127.0.0.1:%(port)d</contact><note>change %(change)d.</note>'
    b"</tuple></presence>"
)
_SUBSCRIBE = (
    b"SUBSCRIBE sip:%(run)b-%(p)d@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 127.0.0.1:%(port)d;branch=z9hG4bKv%(n)d.%(run)b\r\nMax-Forwards: 70\r\n"
    b"From: <sip:w%(w)d-%(run)b@example.com>;tag=%(run)bw%(w)d\r\n"
    b"To: <sip:%(run)b-%(p)d@example.com>\r\nCall-ID: w%(w)d-%(run)b\r\nCSeq: 1 SUBSCRIBE\r\n"
    b"Contact: <sip:w%(w)d@127.0.0.1:%(port)d>\r\nEvent: presence\r\nAccept: application/pidf+xml\r\n"
    b"Expires: 3600\r\nContent-Length: 0\r\n\r\n"
)
_BRANCH = b"z9hG4bKv"
_NOTIFY = b"NOTIFY sip:w"
_CHANGE = b"change "
_COPIED = (b"Via:", b"From:", b"To:", b"Call-ID:", b"CSeq:", b"v:", b"f:", b"t:", b"i:")
_clock = time.monotonic

Say = Callable[[str], None]


@dataclass(frozen=True)
class Load:
    """What came of changes at a rate. Times are None where more is missing than they leave out."""

    rate: float
    """Changes that were to be published in a second."""
    changes: int
    """Those that were published: a presentity whose change before is not yet answered is left out."""
    left_out: int
    refused: int
    """Answered otherwise than with 200, or not at all."""
    response_ms: float | None
    """Median time from a PUBLISH to its 200."""
    response_p99_ms: float | None
    expected: int
    """One for each watcher of each change that was taken."""
    missing: int
    """Those of them where the watcher got neither that state nor a newer one."""
    notify_ms: float | None
    """Median time from a PUBLISH to the NOTIFY with its state, or a newer one; those missing count as never."""
    notify_p99_ms: float | None
    longest_ms: float
    """Of those that came."""
    seconds: float
    """From the first change until the last NOTIFY, or until nobody waited any longer."""
    notifies: int
    """All that came, copies too."""
    own_cpu_s: float
    """CPU seconds of these phones."""


class PhonesError(Exception):
    """The phones could not do what they were to do."""


@dataclass(slots=True)
class _Open:
    """A request without its final answer."""

    data: bytes
    presentity: int
    """-1 where it is a SUBSCRIBE."""
    change: int
    sent: float
    pause: float


class Phones:
    """The phones; every method returns when it is done and serves the socket meanwhile."""

    def __init__(self, server: tuple[str, int], run: str, presentities: int, watchers_each: int, say: Say) -> None:
        self.presentities = presentities
        self.watchers_each = watchers_each
        self._run = run.encode("ascii")
        self._say = say
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.connect(server)
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self._numbers = 0
        self._open: dict[int, _Open] = {}
        self._again: list[tuple[float, int]] = []
        self._publishing: set[int] = set()
        self._etags: list[bytes] = [b""] * presentities
        self._sent: list[list[float]] = [[] for _ in range(presentities)]
        """When each change of each presentity was published; negative where it was refused."""
        self._have = array("l", [-1]) * (presentities * watchers_each)
        """The newest change that each watcher has."""
        self.told = 0
        """Watchers that got a NOTIFY at all."""
        self._refused = 0
        self._notifies = 0
        self._responses: list[float] = []
        self._latencies: list[float] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def name(self, presentity: int) -> str:
        """The user part of a presentity."""
        return f"{self._run.decode()}-{presentity}"

    def publish_all(self, window: int, patience: float) -> None:
        """Publish every presentity, so many at once. Raises PhonesError."""
        self._windowed(self.presentities, self._publish, lambda: len(self._open), window, patience, "published")
        if self._refused:
            raise PhonesError(f"{self._refused} of {self.presentities} initial PUBLISHes were refused")

    def subscribe_all(self, window: int, patience: float) -> int:
        """Subscribe all watchers, so many at once until each has its first NOTIFY; how many have it in that time."""
        count = self.presentities * self.watchers_each
        begun = self.told
        started = 0

        def subscribe(watcher: int) -> None:
            nonlocal started
            started += 1
            self._subscribe(watcher)

        self._windowed(count, subscribe, lambda: started - (self.told - begun), window, patience, "watch")
        return self.told - begun

    def take_as_subscribed(self) -> None:
        """The watchers have dialogs that were made otherwise, and their first NOTIFY."""
        self._have = array("l", [0]) * (self.presentities * self.watchers_each)
        self.told = len(self._have)

    def change(self, rate: float, seconds: float, patience: float) -> Load:
        """Publish changes at a rate, one presentity after the other, and wait so long for the NOTIFYs they cause."""
        self._begin()
        left_out = 0
        count = int(rate * seconds)
        with _no_collection():
            used, begun = time.thread_time(), _clock()
            told = begun
            for number in range(count):
                self._serve(begun + number / rate)
                presentity = number % self.presentities
                if presentity in self._publishing:
                    left_out += 1
                else:
                    self._publish(presentity)
                if _clock() > told + TOLD_EACH:
                    told = _clock()
                    self._say(f"  {number} of {count} changes, {self._notifies} NOTIFYs")
            until = _clock() + patience
            while _clock() < until and (self._open or self._owed(count - left_out)):
                self._serve(_clock() + SLICE)
            seconds_used = _clock() - begun
            own = time.thread_time() - used
        return self._load(rate, count - left_out, left_out, seconds_used, own)

    def one_by_one(self, count: int, pause: float, patience: float, seconds: float) -> Load:
        """Publish `count` changes, each when the one before is answered and told to all; fewer when `seconds` end."""
        self._begin()
        with _no_collection():
            used, begun = time.thread_time(), _clock()
            done = 0
            while done < count and _clock() < begun + seconds:
                self._publish(done % self.presentities)
                done += 1
                until = _clock() + patience
                while (self._open or self._owed(done)) and (left := until - _clock()) > 0:
                    self._receive(left)
                self._serve(_clock() + pause)
            seconds_used = _clock() - begun
            own = time.thread_time() - used
        return self._load(done / seconds_used, done, 0, seconds_used, own)

    def serve(self, seconds: float) -> None:
        """Answer what comes for so long."""
        self._serve(_clock() + seconds)

    def _begin(self) -> None:
        self._refused = self._notifies = 0
        self._responses, self._latencies = [], []

    def _owed(self, changes: int) -> bool:
        return len(self._latencies) < (changes - self._refused) * self.watchers_each

    def _load(self, rate: float, changes: int, left_out: int, seconds: float, own: float) -> Load:
        refused = self._refused + len(self._open)
        expected = (changes - refused) * self.watchers_each
        latencies = sorted(self._latencies)
        responses = sorted(self._responses)
        return Load(
            rate=rate,
            changes=changes,
            left_out=left_out,
            refused=refused,
            response_ms=percentile(responses, changes, 0.5),
            response_p99_ms=percentile(responses, changes, 0.99),
            expected=expected,
            missing=max(0, expected - len(latencies)),
            notify_ms=percentile(latencies, expected, 0.5),
            notify_p99_ms=percentile(latencies, expected, 0.99),
            longest_ms=1000 * latencies[-1] if latencies else 0.0,
            seconds=seconds,
            notifies=self._notifies,
            own_cpu_s=own,
        )

    def _windowed(
        self,
        count: int,
        start: Callable[[int], None],
        waiting: Callable[[], int],
        window: int,
        patience: float,
        what: str,
    ) -> None:
        """Start `count` things, at most `window` of which are not at their end."""
        begun = told = _clock()
        done = 0
        while done < count or waiting():
            now = _clock()
            if now > begun + patience:
                self._say(f"  {done - waiting()} of {count} {what} after {now - begun:.0f} s: no more are waited for")
                break
            while done < count and waiting() < window:
                start(done)
                done += 1
            self._receive(SLICE)
            if now > told + TOLD_EACH:
                told = now
                self._say(f"  {done - waiting()} of {count} {what}, {(done - waiting()) / (now - begun):,.0f}/s")

    def _publish(self, presentity: int) -> None:
        match = self._etags[presentity]
        change = len(self._sent[presentity])
        self._numbers += 1
        values = {b"run": self._run, b"p": presentity, b"port": self.port, b"n": self._numbers, b"change": change}
        body = _BODY % values
        header = b"SIP-If-Match: %b\r\n" % match if match else b""
        data = _PUBLISH % (values | {b"match": header, b"length": len(body), b"body": body})
        self._publishing.add(presentity)
        self._sent[presentity].append(_clock())
        self._request(data, presentity, change)

    def _subscribe(self, watcher: int) -> None:
        self._numbers += 1
        presentity = watcher // self.watchers_each
        values = {b"run": self._run, b"p": presentity, b"port": self.port, b"n": self._numbers, b"w": watcher}
        self._request(_SUBSCRIBE % values, -1, watcher)

    def _request(self, data: bytes, presentity: int, change: int) -> None:
        now = _clock()
        self._open[self._numbers] = _Open(data, presentity, change, now, T1)
        heapq.heappush(self._again, (now + T1, self._numbers))
        self._send(data)

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):  # lost, as datagrams may be
            self._socket.send(data)

    def _serve(self, until: float) -> None:
        """Take what comes until then."""
        while (left := until - _clock()) > 0:
            self._receive(left)

    def _receive(self, patience: float) -> None:
        """Wait at most so long for datagrams, take those that are there, and send again what is due."""
        if self._again:
            patience = min(patience, max(0.0, self._again[0][0] - _clock()))
        if select.select([self._socket], [], [], patience)[0]:
            receive = self._socket.recv
            for _ in range(AT_ONCE):
                try:
                    data = receive(65535)
                except BlockingIOError:
                    break
                except ConnectionRefusedError:
                    continue
                self._take(data)
        self._send_again()

    def _send_again(self) -> None:
        now = _clock()
        while self._again and self._again[0][0] <= now:
            number = heapq.heappop(self._again)[1]
            request = self._open.get(number)
            if request is None:
                continue
            if now - request.sent > GIVE_UP:
                self._end(number, request, taken=False)
                continue
            request.pause = min(2 * request.pause, T2)
            heapq.heappush(self._again, (now + request.pause, number))
            self._send(request.data)

    def _take(self, data: bytes) -> None:
        now = _clock()
        if data.startswith(_NOTIFY):
            self._send(answer_to_notify(data))
            self._notifies += 1
            self._take_state(int(data[len(_NOTIFY) : data.index(b"@")]), data, now)
            return
        if not data.startswith(b"SIP/2.0 ") or data[8:9] == b"1":
            return
        at = data.index(_BRANCH) + len(_BRANCH)
        number = int(data[at : data.index(b".", at)])
        request = self._open.get(number)
        if request is None:
            return
        taken = data[8:9] == b"2"
        if taken and request.presentity >= 0:
            at = data.index(b"SIP-ETag:") + 9
            self._etags[request.presentity] = data[at : data.index(b"\r\n", at)].strip()
            self._responses.append(now - request.sent)
        self._end(number, request, taken=taken)

    def _end(self, number: int, request: _Open, *, taken: bool) -> None:
        del self._open[number]
        if request.presentity >= 0:
            self._publishing.discard(request.presentity)
        if not taken:
            self._refused += 1
            if request.presentity >= 0:
                self._sent[request.presentity][request.change] = -1.0

    def _take_state(self, watcher: int, data: bytes, now: float) -> None:
        at = data.rfind(_CHANGE)
        if at < 0:
            return
        change = int(data[at + len(_CHANGE) : data.index(b".", at)])
        have = self._have[watcher]
        if change <= have:
            return
        self._have[watcher] = change
        if have < 0:
            self.told += 1
            return
        sent = self._sent[watcher // self.watchers_each]
        self._latencies.extend(now - sent[one] for one in range(have + 1, change + 1) if sent[one] >= 0)


def answer_to_notify(data: bytes) -> bytes:
    """A 200 with the headers that are to be copied."""
    head = data[: data.find(b"\r\n\r\n")].split(b"\r\n")
    return b"\r\n".join(
        [b"SIP/2.0 200 OK", *(line for line in head if line.startswith(_COPIED)), b"Content-Length: 0", b"", b""]
    )


def percentile(ordered: list[float], count: int, part: float) -> float | None:
    """Milliseconds, of `count` times of which `ordered` are known and the others endless; None where it is that."""
    place = max(0, min(count - 1, int(part * count)))
    return 1000 * ordered[place] if place < len(ordered) else None


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Nothing is measured that the collector of this process causes."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
