"""Whom this process keeps out, why, and what others know of that.

What comes in a datagram may have been sent by anybody in anybody's name. So it is held against its source only where
it proves that what is sent there reaches its sender: a password for a nonce that was given to that source. What comes
over a connection proves that by its handshake.
"""

import time
from collections.abc import Callable

import structlog

from sip_edge.domain.ban_rules import BanRules
from sip_edge.domain.bans import Bans
from sip_edge.domain.log_budget import LogBudget
from sip_edge.domain.offences import Offences
from sip_edge.domain.turned_away import TurnedAway
from vedette.rpc.contract import Ban
from vedette.sip.flow import Flow
from vedette.sip.source import source_of

MAX_UNREPORTED = 1000

log = structlog.get_logger()

Subject = tuple[str, str]
"""A source, and a user there or "" for all that it sends."""


class Banning:
    """Judges by what `offence`, `wrong_password` and `right_password` tell."""

    def __init__(
        self,
        rules: BanRules,
        counted: TurnedAway,
        *,
        is_trusted: Callable[[str], bool],
        cut: Callable[[str], int],
    ) -> None:
        """`is_trusted` tells of an address whether it is never kept out; `cut` ends the connections of a source."""
        self._rules = rules
        self._counted = counted
        self._is_trusted = is_trusted
        self._cut = cut
        self._bans: Bans[str] = Bans(rules.first, rules.longest)
        self._forgeable: Bans[str] = Bans(rules.forgeable, rules.forgeable)
        self._locks: Bans[Subject] = Bans(rules.first, rules.longest)
        self._offences: Offences[str] = Offences()
        self._forgeable_offences: Offences[str] = Offences()
        self._wrong: Offences[Subject] = Offences()
        self._wrong_unproved: Offences[Subject] = Offences()
        self._unreported: dict[Subject, tuple[float, int, str]] = {}
        self._log_budget = LogBudget()

    @property
    def has_bans(self) -> bool:
        """Whether anybody may be banned."""
        return bool(self._bans) or bool(self._forgeable)

    def bars(self, host: str, *, datagram: bool) -> bool:
        """Whether nothing is taken from that address."""
        source = source_of(host)
        now = time.monotonic()
        banned = self._bans.left(source, now) or (datagram and self._forgeable.left(source, now))
        return bool(banned) and not self._is_trusted(host)

    # what is held against a source

    def garbage(self, flow: Flow) -> None:
        """Something came from there that cannot be read."""
        self._counted.garbage += 1
        self.offence(flow, 1, "garbage")

    def offence(self, flow: Flow, weight: int, reason: str, *, proved: bool = False) -> None:
        """Something came from there that nobody should send; `proved`: surely by whoever is there."""
        if not self._rules.threshold or self._is_trusted(flow.host):
            return
        now = time.monotonic()
        source = source_of(flow.host)
        if proved or flow.reliable:
            if self._offences.add(source, weight, now) >= self._rules.threshold:
                self._offences.forget(source)
                self._ban(source, reason, now)
        elif self._rules.forgeable and self._forgeable_offences.add(source, weight, now) >= self._rules.threshold:
            self._forgeable_offences.forget(source)
            self._forgeable.put(source, now + self._rules.forgeable, 1)
            self._counted.bans += 1
            self._say("banned, its datagrams only", now, source=source, reason=reason)

    def _ban(self, source: str, reason: str, now: float) -> None:
        seconds, strikes = self._bans.strike(source, now)
        self._counted.bans += 1
        self._counted.banned_connections += self._cut(source)
        self._report((source, ""), now + seconds, strikes, reason)
        self._say("banned", now, source=source, seconds=seconds, reason=reason)

    # passwords

    def locked(self, flow: Flow, user: str) -> float:
        """Seconds that no password of the user is looked at from there; 0.0: it is."""
        left = self._locks.left((source_of(flow.host), user), time.monotonic()) if self._locks else 0.0
        if left:
            self._counted.locked += 1
        return left

    def must_prove(self, flow: Flow, user: str) -> bool:
        """Whether a password from there is looked at only with a nonce that was given to that source."""
        subject = (source_of(flow.host), user)
        most = self._rules.wrong_passwords
        return self._limits_passwords and self._wrong_unproved.total(subject, time.monotonic()) >= most

    @property
    def _limits_passwords(self) -> bool:
        return bool(self._rules.threshold and self._rules.wrong_passwords)

    def wrong_password(self, flow: Flow, user: str, *, proved: bool) -> None:
        """A password was wrong, or there is no such user: both count the same.

        Against the source only the first one of each user does: many wrong ones of one user lock that user there, and
        leave the others alone.
        """
        self._counted.wrong_passwords += 1
        if not self._limits_passwords:
            return
        now = time.monotonic()
        source = source_of(flow.host)
        subject = (source, user)
        if not (proved or flow.reliable):
            self._wrong_unproved.add(subject, 1, now)
            return
        times = self._wrong.add(subject, 1, now)
        if times >= self._rules.wrong_passwords:
            self._wrong.forget(subject)
            seconds, strikes = self._locks.strike(subject, now)
            self._counted.locks += 1
            self._report(subject, now + seconds, strikes, "wrong passwords")
            self._say("locked", now, source=source, user=user, seconds=seconds)
        elif times == 1:
            self.offence(flow, 1, "wrong passwords of many users", proved=True)

    def right_password(self, flow: Flow, user: str) -> None:
        """A password was right."""
        subject = (source_of(flow.host), user)
        self._wrong.forget(subject)
        self._wrong_unproved.forget(subject)

    # what others know

    def _report(self, subject: Subject, until: float, strikes: int, reason: str) -> None:
        # A name that no row or terminal should have stays here, and spoils no report of others.
        if subject[1].isprintable() and len(self._unreported) < MAX_UNREPORTED:
            self._unreported[subject] = (until, strikes, reason)

    def unreported(self) -> dict[Subject, Ban]:
        """What nobody else was told of yet."""
        now = time.monotonic()
        return {
            (source, user): Ban(source, user, until - now, strikes, reason)
            for (source, user), (until, strikes, reason) in self._unreported.items()
            if until > now
        }

    def reported(self, told: dict[Subject, Ban]) -> None:
        """Others have been told of these."""
        now = time.monotonic()
        for subject, (until, strikes, _) in list(self._unreported.items()):
            if until <= now or (subject in told and told[subject].strikes == strikes):
                del self._unreported[subject]

    def learn(self, ban: Ban) -> None:
        """What others have decided, or somebody has by hand; what is reported meanwhile is newer."""
        subject = (ban.source, ban.username)
        if subject in self._unreported:
            return
        now = time.monotonic()
        until = now + ban.seconds
        if ban.username:
            if ban.lifted:
                self._locks.lift(subject)
                self._wrong.forget(subject)
            else:
                self._locks.put(subject, until, ban.strikes)
        elif ban.lifted:
            self._bans.lift(ban.source)
            self._offences.forget(ban.source)
        else:
            is_new = not self._bans.left(ban.source, now)
            self._bans.put(ban.source, until, ban.strikes)
            if is_new and not self._is_trusted(ban.source.partition("/")[0]):
                self._counted.banned_connections += self._cut(ban.source)

    def forget(self) -> None:
        """Drop what was over long ago."""
        now = time.monotonic()
        for bans in (self._bans, self._forgeable):
            bans.forget(now)
        self._locks.forget(now)

    def _say(self, event: str, now: float, **facts: object) -> None:
        if self._log_budget.allows(now):
            log.warning(event, **facts)
