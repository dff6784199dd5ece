"""Deliver what webhooks have yet to be told: at least once, signed, again after a pause, at last as a dead letter."""

import asyncio
import hashlib
import hmac
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import aiohttp
import asyncpg
import structlog

from presence_core.adapters.webhook_targets import PublicResolver, TargetError, fault_of
from vedette import VERSION
from vedette.store.database import Database, StoreError

POLL = 0.5
AT_ONCE = 8
"""Deliveries to one webhook under way at once, of each process."""
MARGIN = 5.0
"""Seconds beyond the timeout, after which a delivery that was begun is taken for given up."""
LONGEST_PAUSE = 3600.0
TRIM_EVERY = 5.0

_WAITING = """
SELECT h.id, h.url, h.secret
FROM webhook AS h
WHERE EXISTS (SELECT FROM webhook_delivery AS d
              WHERE d.webhook_id = h.id AND d.dead IS NULL AND d.due <= clock_timestamp())
"""
_CLAIM = """
UPDATE webhook_delivery AS d
SET attempts = d.attempts + 1, due = clock_timestamp() + $3::interval
FROM (
    SELECT w.webhook_id, w.id FROM webhook_delivery AS w
    WHERE w.webhook_id = $1 AND w.dead IS NULL AND w.due <= clock_timestamp()
    ORDER BY w.due LIMIT $2 FOR UPDATE SKIP LOCKED
) AS c
WHERE d.webhook_id = c.webhook_id AND d.id = c.id
RETURNING d.id, d.payload, d.attempts, d.created
"""
_DONE = "DELETE FROM webhook_delivery WHERE webhook_id = $1 AND id = $2"
_AGAIN = """
UPDATE webhook_delivery
SET due = clock_timestamp() + $3::interval, error = $4, dead = CASE WHEN $5 THEN clock_timestamp() END
WHERE webhook_id = $1 AND id = $2 AND dead IS NULL
"""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WebhookLimits:
    """How webhooks are called: seconds for an answer, tries, the first pause in seconds, private targets or not."""

    timeout: float = 10.0
    attempts: int = 8
    pause: float = 5.0
    private: bool = False


def signature(secret: str, now: int, body: bytes) -> str:
    """The header Vedette-Signature: the time, and HMAC-SHA-256 over the time, a dot and the body."""
    found = hmac.new(secret.encode(), b"%d.%s" % (now, body), hashlib.sha256).hexdigest()
    return f"t={now},v1={found}"


class WebhookSender:
    """Run `run` as a task."""

    def __init__(
        self,
        database: Database,
        limits: WebhookLimits,
        *,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._limits = limits
        self._chance = chance
        self._clock = clock
        self._working: dict[str, asyncio.Task[None]] = {}
        self._trimmed = 0.0

    async def run(self) -> None:
        """Deliver, for ever. Each webhook has its own task: a slow one delays no other."""
        # No limit for a host: several webhooks may be there, and each has AT_ONCE for itself.
        connector = aiohttp.TCPConnector(
            resolver=PublicResolver(private=self._limits.private), limit=0, use_dns_cache=False
        )
        timeout = aiohttp.ClientTimeout(total=self._limits.timeout)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
        ) as session:
            try:
                while True:
                    await self._look(session)
                    await asyncio.sleep(POLL)
            finally:
                for task in self._working.values():
                    task.cancel()
                await asyncio.gather(*self._working.values(), return_exceptions=True)

    async def _look(self, session: aiohttp.ClientSession) -> None:
        try:
            hooks = await self._database.fetch(_WAITING)
            if time.monotonic() - self._trimmed > TRIM_EVERY:
                self._trimmed = time.monotonic()
                await self._database.fetch("SELECT webhook_trim_v1(h.id) FROM webhook AS h")
        except StoreError as error:
            log.warning("cannot deliver to webhooks", reason=str(error))
            return
        for hook in hooks:
            if hook["id"] not in self._working:
                task = asyncio.create_task(self._deliver_all(session, hook))
                self._working[hook["id"]] = task
                task.add_done_callback(partial(self._done, hook["id"]))

    def _done(self, webhook: str, _task: asyncio.Task[None]) -> None:
        del self._working[webhook]

    async def _deliver_all(self, session: aiohttp.ClientSession, hook: asyncpg.Record) -> None:
        lease = timedelta(seconds=self._limits.timeout + MARGIN)
        try:
            while rows := await self._database.fetch(_CLAIM, hook["id"], AT_ONCE, lease):
                await asyncio.gather(*(self._deliver(session, hook, row) for row in rows))
        except StoreError as error:
            log.warning("cannot deliver to a webhook", webhook=hook["id"], reason=str(error))

    async def _deliver(self, session: aiohttp.ClientSession, hook: asyncpg.Record, row: asyncpg.Record) -> None:
        error = await self._post(session, hook, row)
        if error is None:
            await self._database.fetch(_DONE, hook["id"], row["id"])
            return
        pause = min(self._limits.pause * 2.0 ** (row["attempts"] - 1), LONGEST_PAUSE) * (0.5 + self._chance())
        dead = row["attempts"] >= self._limits.attempts
        log.info("webhook failed", webhook=hook["id"], delivery=row["id"], attempt=row["attempts"], reason=error)
        await self._database.fetch(_AGAIN, hook["id"], row["id"], timedelta(seconds=pause), error, dead)

    async def _post(self, session: aiohttp.ClientSession, hook: asyncpg.Record, row: asyncpg.Record) -> str | None:
        """Why it was not taken, None where it was."""
        fault = fault_of(hook["url"], private=self._limits.private)
        if fault is not None:
            return fault
        body = row["payload"].encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"vedette/{VERSION}",
            "Vedette-Webhook": hook["id"],
            "Vedette-Delivery": str(row["id"]),
            "Vedette-Attempt": str(row["attempts"]),
            "Vedette-Signature": signature(hook["secret"], int(self._clock()), body),
        }
        try:
            async with session.post(hook["url"], data=body, headers=headers, allow_redirects=False) as answer:
                return None if 200 <= answer.status < 300 else f"answered {answer.status}"
        except TargetError as error:
            return str(error)
        except TimeoutError:
            return f"no answer within {self._limits.timeout:g} seconds"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"[:300]
