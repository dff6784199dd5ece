"""`vedette watch`: print each state of a presentity as it arrives."""

import asyncio
import contextlib
import json
from datetime import datetime
from typing import Annotated

import typer

from vedette_cli.commands.options import JsonOption
from vedette_cli.commands.sip_options import (
    MAX_EXPIRES,
    PATIENCE,
    CaOption,
    PasswordOption,
    ServerOption,
    TransportOption,
    UserOption,
    check_uri,
    open_agent,
    stop_at_signals,
    told,
)
from vedette_cli.commands.terminal import say
from vedette_cli.user_agent.agent import NoAnswerError, UserAgent
from vedette_cli.user_agent.presence_document import DocumentError, Summary, summarize
from vedette_cli.user_agent.publisher import RefusedError
from vedette_cli.user_agent.watcher import Notification, Watcher

RESUBSCRIBE = frozenset({"deactivated", "timeout", "probation", "giveup"})
"""Reasons of an end after which a new subscription may be tried (RFC 6665 section 4.1.3)."""
KEEP_OPEN = 30.0
"""Seconds between two OPTIONS over UDP: below what NAT and proxies remember a silent client for."""
LAST_NOTIFY_PATIENCE = 2.0


def watch(
    presentity: Annotated[str, typer.Argument(help="Whose state to watch, like sip:alice@example.com.")],
    watcher: Annotated[str, typer.Option("--as", help="Who watches, like sip:bob@example.com.")],
    expires: Annotated[int, typer.Option(min=1, max=MAX_EXPIRES, help="Seconds between refreshes.")] = 600,
    fetch: Annotated[bool, typer.Option("--fetch", help="Print the state once and end.")] = False,
    server: ServerOption = "127.0.0.1:5060",
    transport: TransportOption = "udp",
    ca: CaOption = None,
    user: UserOption = None,
    password: PasswordOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print each state of a presentity as it arrives, until Ctrl-C."""
    check_uri(presentity, "presentity")
    check_uri(watcher, "--as")
    agent = open_agent(server, transport, user, password, ca)
    with told(presentity):
        asyncio.run(_Watch(agent, presentity, watcher, as_json=as_json).run(0 if fetch else expires))


class _Watch:
    def __init__(self, agent: UserAgent, presentity: str, watcher: str, *, as_json: bool) -> None:
        self._agent = agent
        self._presentity = presentity
        self._watcher = watcher
        self._as_json = as_json
        self._stop = asyncio.Event()
        self._over = asyncio.Event()
        self._last: Notification | None = None

    async def run(self, expires: int) -> None:
        stop_at_signals(self._stop)
        async with self._agent:
            if self._agent.server.transport != "udp":
                return await self._watch(expires)
            keeping_open = asyncio.create_task(self._agent.keep_open(KEEP_OPEN))
            try:
                await self._watch(expires)
            finally:
                keeping_open.cancel()

    async def _watch(self, expires: int) -> None:
        while not self._stop.is_set():
            self._over.clear()
            subscription = Watcher(self._agent, self._presentity, self._watcher, self._notified)
            await subscription.subscribe(expires)
            if expires == 0:
                await self._wait(PATIENCE)
                if not (self._over.is_set() or self._stop.is_set()):
                    raise NoAnswerError("no NOTIFY came")
                return
            await self._keep(subscription, expires)
            subscription.close()

    async def _keep(self, subscription: Watcher, expires: int) -> None:
        """Refresh until the subscription ends or Ctrl-C comes."""
        while True:
            await self._wait(max(1.0, subscription.expires * 0.8))
            if self._stop.is_set():
                self._over.clear()
                with contextlib.suppress(RefusedError):
                    await subscription.unsubscribe()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LAST_NOTIFY_PATIENCE):
                            await self._over.wait()
                return
            if self._over.is_set():
                await self._wait_to_try_again()
                return
            try:
                await subscription.subscribe(expires)
            except RefusedError as error:
                if error.response.status != 481:
                    raise
                return

    async def _wait_to_try_again(self) -> None:
        """As long as the server has asked for; NoAnswerError where it wants no new subscription."""
        reason, pause = (None, None) if self._last is None else (self._last.reason, self._last.retry_after)
        if reason not in RESUBSCRIBE:
            raise NoAnswerError(f"the server has ended the subscription ({reason or 'no reason given'})")
        self._over.clear()
        await self._wait(max(1, pause or 0))

    async def _wait(self, seconds: float) -> None:
        """Return when Ctrl-C came, the subscription ended, or the time is over."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._stop, self._over)]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def _notified(self, notification: Notification) -> None:
        summary: Summary | None = None
        if notification.body:
            with contextlib.suppress(DocumentError):
                summary = summarize(notification.body)
        if not say((self._in_json if self._as_json else self._in_words)(notification, summary)):
            self._stop.set()
        if notification.state == "terminated":
            self._last = notification
            self._over.set()

    def _in_words(self, notification: Notification, summary: Summary | None) -> str:
        words = ["no state" if summary is None else summary.status]
        if summary is not None:
            words += summary.activities
            words += [f'"{" ".join(note.split())}"' for note in summary.notes]
        if notification.state != "active":
            words.append(f"({notification.state}{', ' + notification.reason if notification.reason else ''})")
        return f"{datetime.now().astimezone():%H:%M:%S} {self._presentity} {'  '.join(words)}"

    def _in_json(self, notification: Notification, summary: Summary | None) -> str:
        facts = {
            "time": datetime.now().astimezone().isoformat(),
            "presentity": self._presentity,
            "subscription": notification.state,
            "reason": notification.reason,
            "expires": notification.expires,
            "cseq": notification.cseq,
            "status": None if summary is None else summary.status,
            "activities": [] if summary is None else summary.activities,
            "notes": [] if summary is None else summary.notes,
            "tuples": 0 if summary is None else summary.tuples,
            "document": notification.body.decode("utf-8", "replace"),
        }
        return json.dumps(facts)
