"""Decide who may watch before the database is asked, and again where it says that other rules hold by now.

What is known of the rules costs nothing to look at, and where nothing is known of a presentity it is taken for one
without rules. The database compares the version in the call that it makes anyway, so nothing is decided by old rules.
"""

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from presence_core.domain.subscribe import SubscribeCommand, SubscribeVerdict
from vedette.identity import Presentity
from vedette.rules.ruling import Defaults, Rulebook, judge
from vedette.store.database import StoreError, StoreUnavailableError, StoreUndecidedError

ROUNDS = 5
"""So many times in a row the rules of one presentity may change under a request before it is told to come later."""

Apply = Callable[[list[SubscribeCommand]], Awaitable[list[SubscribeVerdict]]]


class Books(Protocol):
    """What is said about watchers. Methods raise StoreError."""

    def known(self, presentity: Presentity) -> Rulebook:
        """What is known of it, which may be old."""

    async def load(self, presentities: Sequence[Presentity]) -> dict[Presentity, Rulebook]:
        """What is said now, which is known from here on."""

    async def current(self, presentities: Sequence[Presentity]) -> None:
        """Know what is said now."""


class Judging:
    """`apply` commands as the store does, with what was decided about their watchers."""

    def __init__(
        self,
        apply: Apply,
        books: Books,
        defaults: Defaults,
        *,
        spheres: Callable[[Sequence[Presentity]], Awaitable[dict[Presentity, str | None]]],
        clock: Callable[[], float],
        compares: bool = True,
    ) -> None:
        """`spheres` reads what presentities have published; `clock`: seconds since the epoch.

        `compares`: whether the store compares the versions of rules (dialogs in Postgres); else they are read before.
        """
        self._apply = apply
        self._books = books
        self._defaults = defaults
        self._spheres = spheres
        self._clock = clock
        self._compares = compares

    async def apply(self, commands: list[SubscribeCommand]) -> list[SubscribeVerdict]:
        """The verdict on each command. Raises StoreError."""
        if not self._compares:
            # Without Postgres by what is known: no state is sent before it is back, and all are judged again then.
            with contextlib.suppress(StoreError):
                await self._books.current([_presentity(c) for c in commands if _is_new(c)])
        verdicts = await self._apply(await self._decide(commands))
        for _ in range(ROUNDS):
            again = [index for index, verdict in enumerate(verdicts) if verdict.verdict == "unjudged"]
            if not again:
                break
            try:
                judged = await self._judge_anew([commands[index] for index in again])
            except StoreUnavailableError as error:
                raise StoreUndecidedError(*error.args) from error  # the others of the batch are stored
            for index, verdict in zip(again, judged, strict=True):
                verdicts[index] = verdict
        return verdicts

    async def _judge_anew(self, commands: list[SubscribeCommand]) -> list[SubscribeVerdict]:
        await self._books.load([_presentity(command) for command in commands])
        return await self._apply(await self._decide(commands))

    async def _decide(self, commands: list[SubscribeCommand]) -> list[SubscribeCommand]:
        books = {p: self._books.known(p) for p in {_presentity(c) for c in commands if _is_new(c)}}
        spheres: dict[Presentity, str | None] = {}
        if self._defaults.sphere_check:
            asked = [p for p, book in books.items() if book.asks_sphere]
            spheres = await self._spheres(asked) if asked else {}
        now = self._clock()
        return [self._decided(command, books, spheres, now) if _is_new(command) else command for command in commands]

    def _decided(
        self,
        command: SubscribeCommand,
        books: dict[Presentity, Rulebook],
        spheres: dict[Presentity, str | None],
        now: float,
    ) -> SubscribeCommand:
        presentity = _presentity(command)
        book = books[presentity]
        watcher = (command.watcher_username, command.watcher_domain)
        ruling = judge(book, self._defaults, watcher, presentity.uri, presentity.event, spheres.get(presentity), now)
        decided = (ruling.status, ruling.reason, book.version)
        if decided == (command.status, command.reason, command.rules):
            return command
        return command._replace(status=ruling.status, reason=ruling.reason, rules=book.version)


def _is_new(command: SubscribeCommand) -> bool:
    """Whether it wants a new dialog: that of another one was decided on, and is again whenever that may change."""
    return command.presentity_uri is not None


def _presentity(command: SubscribeCommand) -> Presentity:
    return Presentity(command.presentity_hash, command.presentity_uri or "", command.event)
