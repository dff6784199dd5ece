"""The timer values (RFC 3261 section 17.1.1.1) and a queue of running timers."""

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

Subject = TypeVar("Subject")


@dataclass(frozen=True, slots=True)
class Timers:
    """T1, T2 and T4 in seconds; the other timers follow from them."""

    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0

    @property
    def transaction_timeout(self) -> float:
        """Timers F and J: 64*T1."""
        return 64 * self.t1

    @property
    def provisional_after(self) -> float:
        """When a server has to send 100 to a non-INVITE request: Timer E has grown to T2 (RFC 4320 section 4.1)."""
        total, interval = 0.0, self.t1
        while interval < self.t2:
            total += interval
            interval *= 2
        return total


class TimerQueue(Generic[Subject]):
    """Timers of a few fixed durations, many subjects.

    Timers of one duration end in the order they were started, so each duration and kind is a plain FIFO: one of the
    times and one of the subjects, which keeps less than one of pairs. Nothing is ever cancelled: whoever gets a timer
    that no longer matters ignores it.
    """

    def __init__(self) -> None:
        self._queues: dict[tuple[float, int], tuple[deque[float], deque[Subject]]] = {}
        self._next: float | None = None

    def start(self, duration: float, kind: int, subject: Subject, now: float) -> None:
        """Have `expired` return (kind, subject) once `now + duration` has come."""
        queue = self._queues.get((duration, kind))
        if queue is None:
            queue = self._queues[duration, kind] = (deque(), deque())
        end = now + duration
        queue[0].append(end)
        queue[1].append(subject)
        if self._next is None or end < self._next:
            self._next = end

    def next_deadline(self) -> float | None:
        """The earliest end of a running timer, None where none runs."""
        return self._next

    def _find_next(self) -> None:
        self._next = min((times[0] for times, _ in self._queues.values() if times), default=None)

    def expired(self, now: float) -> list[tuple[int, Subject]]:
        """Take out all timers that have ended."""
        ended: list[tuple[int, Subject]] = []
        if self._next is None or self._next > now:
            return ended
        for (_, kind), (times, subjects) in self._queues.items():
            while times and times[0] <= now:
                times.popleft()
                ended.append((kind, subjects.popleft()))
        self._find_next()
        return ended

    def take_oldest(self, duration: float, kind: int) -> Subject | None:
        """Take out the timer of that duration and kind that would end first, None where none runs."""
        queue = self._queues.get((duration, kind))
        if queue is None or not queue[0]:
            return None
        if queue[0].popleft() == self._next:
            self._find_next()
        return queue[1].popleft()

    def __len__(self) -> int:
        return sum(len(times) for times, _ in self._queues.values())
