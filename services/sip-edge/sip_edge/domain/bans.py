"""Who is kept out, until when, and how long the next time. Pure: `now` is an argument."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Subject = TypeVar("Subject", bound=Hashable)

MAX_BANS = 16_384


@dataclass(slots=True)
class _Ban:
    until: float
    strikes: int


class Bans(Generic[Subject]):
    """Bans that end by themselves; each `strike` takes twice as long as the one before, up to `longest`.

    A strike is forgotten when the longest time has passed without another one.
    """

    def __init__(self, first: float, longest: float, *, limit: int = MAX_BANS) -> None:
        """Seconds. Where there are more than `limit`, the one that is oldest is forgotten."""
        self._first = first
        self._longest = max(first, longest)
        self._limit = limit
        self._bans: OrderedDict[Subject, _Ban] = OrderedDict()

    def __len__(self) -> int:
        return len(self._bans)

    def left(self, subject: Subject, now: float) -> float:
        """Seconds that it is banned for yet; 0.0 where it is not."""
        ban = self._bans.get(subject)
        return 0.0 if ban is None or ban.until <= now else ban.until - now

    def strike(self, subject: Subject, now: float) -> tuple[float, int]:
        """Ban it; for how many seconds, and the how manieth time in a row it is."""
        ban = self._bans.get(subject)
        known = ban is not None and now - ban.until <= self._longest
        strikes = ban.strikes + 1 if ban is not None and known else 1
        seconds = min(self._first * 2.0 ** min(strikes - 1, 64), self._longest)
        self.put(subject, now + seconds, strikes)
        return seconds, strikes

    def put(self, subject: Subject, until: float, strikes: int) -> None:
        """What somebody else has decided."""
        self._bans[subject] = _Ban(until, strikes)
        self._bans.move_to_end(subject)
        if len(self._bans) > self._limit:
            self._bans.popitem(last=False)

    def lift(self, subject: Subject) -> None:
        """End a ban and forget its strikes."""
        self._bans.pop(subject, None)

    def forget(self, now: float) -> None:
        """Drop what was over long ago."""
        over = [subject for subject, ban in self._bans.items() if now - ban.until > self._longest]
        for subject in over:
            del self._bans[subject]
