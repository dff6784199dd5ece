"""Watchers that do what no watcher should: each subscribes once, and then answers wrongly, late or not at all."""

import asyncio
from typing import Literal, get_args

from tests.phone import Message, Phone, learn, token
from tests.running_set import RunningSet

Manner = Literal["silent", "late", "unknown", "busy", "failing", "vanished"]
MANNERS: tuple[Manner, ...] = get_args(Manner)
DEAD: frozenset[Manner] = frozenset({"silent", "late", "unknown", "vanished"})
"""Those whose subscription has to end; the others fail and live."""
RETRY_AFTER = 1


class MisbehavingWatcher:
    """silent: never answers. late: answers when `let_go` is called. unknown: 481. busy: 500 with Retry-After.

    failing: 503 without. vanished: its TCP connection is gone.
    """

    def __init__(self, running: RunningSet, presentity: str, manner: Manner) -> None:
        self.manner = manner
        self.phone = Phone(running.sip, "tcp" if manner == "vanished" else "udp", token(manner))
        self.presentity = presentity
        self.call_id = ""
        self.cseqs: list[int] = []
        """Of the NOTIFYs that came, copies aside."""
        self.pauses: list[float] = []
        """Seconds from our answer to the next NOTIFY, copies aside."""
        self._answered_at: float | None = None
        self._gate = asyncio.Event()

    async def start(self) -> None:
        """Subscribe, and begin to misbehave."""
        self.phone.answer = self._answer
        await self.phone.open()
        dialog = self.phone.dialog(self.presentity)
        self.call_id = dialog.call_id
        response = await self.phone.request(self.phone.subscribe(dialog))
        assert response.status == 200, response.start
        learn(dialog, response)
        if self.manner == "vanished":
            self.phone.abort()

    async def _answer(self, request: Message) -> int | bytes | None:
        cseq = int(request["cseq"].split()[0])
        if cseq not in self.cseqs:
            self.cseqs.append(cseq)
            now = asyncio.get_running_loop().time()
            if self._answered_at is not None:
                self.pauses.append(now - self._answered_at)
            self._answered_at = now
        match self.manner:
            case "late":
                await self._gate.wait()
                return 200
            case "unknown":
                return 481
            case "busy":
                return self.phone.response(request, 500, f"Retry-After: {RETRY_AFTER}")
            case "failing":
                return 503
        return None

    def let_go(self) -> None:
        """Let the late answer leave."""
        self._gate.set()

    async def close(self) -> None:
        """Close the socket."""
        await self.phone.close()
