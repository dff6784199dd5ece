"""Webhooks against a real HTTP server: signed, at least once, again after a failure, at last as dead letters."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from notifier.domain.outcome_policy import settle
from presence_core.adapters.webhook_sender import WebhookLimits, WebhookSender
from presence_core.adapters.webhook_targets import PublicResolver, TargetError, fault_of
from tests.integration.calls import ALICE, publish, subscribe
from tests.integration.replicas import Core, DialogStore
from tests.integration.rest_api import RestApi, parts_of, served
from tests.phone import pidf
from tests.wait import until, until_true
from vedette.rpc.contract import Outcome
from vedette.store.database import Database

FAST = WebhookLimits(timeout=20.0, attempts=3, pause=0.02, private=True)
"""What was not answered in time counts as an attempt: both ends are in this process, which may stand still."""


@dataclass
class Receiver:
    """The other side; `answers` are given first, then 204."""

    url: str = ""
    secret: str = ""
    answers: list[int] = field(default_factory=list)
    heard: list[dict[str, Any]] = field(default_factory=list)
    ids: Counter[str] = field(default_factory=Counter)
    slow: asyncio.Event | None = None

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        at, _, signed = request.headers["Vedette-Signature"].partition(",v1=")
        text = at.removeprefix("t=").encode() + b"." + body
        assert hmac.compare_digest(hmac.new(self.secret.encode(), text, hashlib.sha256).hexdigest(), signed)
        assert abs(int(at.removeprefix("t=")) - time.time()) < 60
        self.ids[request.headers["Vedette-Delivery"]] += 1
        if self.slow is not None:
            await self.slow.wait()
        if self.answers:
            status = self.answers.pop(0)
            return web.Response(status=status, headers={"Location": self.url} if status == 302 else {})
        self.heard.append(json.loads(body))
        return web.Response(status=204)

    def whats(self, kind: str = "publication") -> list[str]:
        return [found["what"] for found in self.heard if found["kind"] == kind]


@pytest.fixture
async def receivers() -> AsyncIterator[list[Receiver]]:
    found = [Receiver(), Receiver()]
    app = web.Application()
    for number, receiver in enumerate(found):
        app.router.add_post(f"/{number}", receiver.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    for number, receiver in enumerate(found):
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/{number}"
    yield found
    await runner.cleanup()


@pytest.fixture
async def api(database: Database, core: Core) -> AsyncIterator[RestApi]:
    async with served(parts_of(database, core), is_open=True) as found:
        yield found
        for hook in (await found.get("/api/v1/webhooks"))["items"]:
            assert (await found.call("DELETE", f"/api/v1/webhooks/{hook['id']}")).status == 200


async def hooked(api: RestApi, receiver: Receiver, **more: Any) -> str:
    """The id of a new webhook."""
    answer = await api.call("POST", "/api/v1/webhooks", body={"url": receiver.url, **more})
    assert answer.status == 201, answer
    receiver.secret = answer.body["secret"]
    return str(answer.body["id"])


@contextlib.asynccontextmanager
async def delivering(database: Database, limits: WebhookLimits = FAST) -> AsyncIterator[None]:
    """A process of the api, as far as it delivers."""
    task = asyncio.create_task(WebhookSender(database, limits).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_happens_is_delivered_after_failures_signed_and_with_one_id(
    api: RestApi, core: Core, database: Database, receivers: list[Receiver]
) -> None:
    receiver, other = receivers
    await core.publish_one(publish(ALICE, call_id="before"))
    id_ = await hooked(api, receiver)
    await hooked(api, other, kinds=["publication"], event="dialog")
    receiver.answers = [500, 302]
    first = await core.publish_one(publish(ALICE))
    async with delivering(database):
        await until_true(lambda: len(receiver.heard) == 1, "it is delivered")
        assert receiver.ids.most_common(1)[0][1] == 3
        await core.publish_one(publish(ALICE, if_match=[first.etag], body=pidf(ALICE, note="new"), cseq=2))
        await core.subscribe_one(subscribe(ALICE))
        await until_true(lambda: len(receiver.heard) == 3, "all is delivered")

        async def nothing_waits() -> bool:
            view = await api.get(f"/api/v1/webhooks/{id_}")
            return (view["waiting"], view["dead_letters"]) == (0, 0)

        await until(nothing_waits, "what was delivered is forgotten")
    assert sorted(receiver.whats()) == ["created", "modified"]
    assert receiver.whats("subscription") == ["created"]
    assert {found["presentity"] for found in receiver.heard} == {ALICE}
    assert other.heard == []
    assert "secret" not in await api.get(f"/api/v1/webhooks/{id_}")


async def test_nothing_is_lost_when_the_api_is_restarted(
    api: RestApi, core: Core, database: Database, receivers: list[Receiver]
) -> None:
    receiver = receivers[0]
    await hooked(api, receiver)
    count = 15
    async with delivering(database):
        for number in range(count):
            await core.publish_one(publish(f"sip:u{number}@example.com"))
        receiver.slow = asyncio.Event()
        await until_true(lambda: receiver.ids, "the first are on their way")
    receiver.slow.set()
    receiver.slow = None
    await database.fetch("UPDATE webhook_delivery SET due = clock_timestamp()")  # as after their lease
    async with delivering(database), delivering(database):
        await until_true(
            lambda: (
                {found["presentity"] for found in receiver.heard} >= {f"sip:u{n}@example.com" for n in range(count)}
            ),
            "all are delivered",
        )
    assert len(receiver.ids) == count


async def test_parameter_api_webhook_attempts_then_a_delivery_is_a_dead_letter_that_can_be_tried_again(
    api: RestApi, core: Core, database: Database, receivers: list[Receiver]
) -> None:
    receiver = receivers[0]
    id_ = await hooked(api, receiver)
    receiver.answers = [503] * 6
    path = f"/api/v1/webhooks/{id_}/dead-letters"
    async with delivering(database):
        for user in ("a", "b"):
            await core.publish_one(publish(f"sip:{user}@example.com"))

        async def dead() -> Any:
            items = (await api.get(path))["items"]
            return items if len(items) == 2 else None

        first, second = await until(dead, "both are dead letters")
        assert (first["attempts"], first["error"]) == (3, "answered 503")
        assert sorted(receiver.ids.values()) == [3, 3]
        assert first["payload"]["what"] == "created"
        assert len((await api.get(path, limit=1))["items"]) == 1
        assert (await api.call("DELETE", f"{path}/{first['id']}")).body == {"deliveries": 1}
        (await api.call("POST", f"{path}/{first['id']}/retry")).problem(404)
        assert (await api.call("POST", f"{path}/retry")).body == {"deliveries": 1}
        await until_true(lambda: receiver.heard == [second["payload"]], "it is delivered after all")
    operations = [item["operation"] for item in (await api.get("/api/v1/audit"))["items"]]
    assert operations == ["retry_dead_letters", "delete_dead_letter", "create_webhook"]


async def test_parameter_api_webhook_timeout_a_slow_webhook_delays_no_other(
    api: RestApi, core: Core, database: Database, receivers: list[Receiver]
) -> None:
    slow, quick = receivers
    await hooked(api, slow)
    await hooked(api, quick)
    slow.slow = asyncio.Event()
    async with delivering(database, WebhookLimits(timeout=30.0, private=True)):
        for number in range(12):
            await core.publish_one(publish(f"sip:u{number}@example.com"))
        await until_true(lambda: len(quick.heard) == 12, "the quick one has all")
        assert slow.heard == []
    slow.slow.set()


async def test_parameter_api_webhook_max_waiting_the_oldest_become_dead_letters(
    api: RestApi, core: Core, database: Database, receivers: list[Receiver]
) -> None:
    id_ = await hooked(api, receivers[0])
    for number in range(25):
        await core.publish_one(publish(f"sip:u{number}@example.com"))
    await database.fetch("SELECT webhook_trim_v1($1)", id_)
    view = await api.get(f"/api/v1/webhooks/{id_}")
    assert (view["waiting"], view["dead_letters"]) == (20, 5)
    letters = (await api.get(f"/api/v1/webhooks/{id_}/dead-letters"))["items"]
    assert [letter["payload"]["presentity"] for letter in letters] == [f"sip:u{n}@example.com" for n in range(5)]
    assert {letter["error"] for letter in letters} == {"too many were waiting"}


async def test_outcomes_of_notifies_are_delivered_where_they_are_wanted(
    api: RestApi, core: Core, notifier: DialogStore, database: Database, receivers: list[Receiver]
) -> None:
    receiver = receivers[0]
    await hooked(api, receiver, kinds=["notify"])
    made = await core.subscribe_one(subscribe(ALICE))
    (claim,) = await notifier.claim(10, 10)
    outcome = Outcome(claim.presentity_hash, claim.dialog_id, claim.cseq, 503)
    await notifier.apply([(outcome, settle(503, None))])
    async with delivering(database):
        await until_true(lambda: receiver.heard, "it is delivered")
    (heard,) = receiver.heard
    assert (heard["kind"], heard["what"], heard["code"], heard["cseq"]) == ("notify", "failed", 503, claim.cseq)
    assert (heard["presentity"], heard["id"]) == (ALICE, made.to_tag)


async def test_the_hot_path_has_no_triggers_while_no_webhook_wants_them(
    api: RestApi, database: Database, receivers: list[Receiver]
) -> None:
    async def on() -> list[str]:
        rows = await database.fetch(
            "SELECT tgname FROM pg_trigger WHERE tgname LIKE 'webhook_of%' AND tgenabled <> 'D' ORDER BY 1"
        )
        return [row["tgname"] for row in rows]

    assert await on() == []
    one = await hooked(api, receivers[0], kinds=["publication"])
    two = await hooked(api, receivers[0], kinds=["publication", "notify"])
    assert await on() == ["webhook_of_notify", "webhook_of_publication"]
    await api.call("DELETE", f"/api/v1/webhooks/{two}")
    assert await on() == ["webhook_of_publication"]
    await api.call("DELETE", f"/api/v1/webhooks/{one}")
    assert await on() == []


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/", "http://localhost:80/", "http://a.localhost/", "http://[::1]/", "http://10.1.2.3/"),
        *("http://169.254.169.254/latest", "http://[::ffff:127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://0/"),
        *(
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[fe80::1]/",
            "http://224.0.0.1/",
            "http://[2002:7f00:1::]/",
        ),
    ],
)
def test_parameter_api_webhook_private_targets_0_nothing_here_is_called(url: str) -> None:
    assert "api_webhook_private_targets" in (fault_of(url, private=False) or "")
    assert fault_of(url, private=True) is None


@pytest.mark.parametrize(
    "url",
    ["", "x", "ftp://a.example/", "http://", "http://u:p@a.example/", "http://a.example/\r\nX: y", "http://a:b/"],
)
def test_what_is_no_url_for_a_webhook_is_refused(url: str) -> None:
    assert fault_of(url, private=True) is not None


async def test_a_name_that_leads_here_is_not_called() -> None:
    resolver = PublicResolver(private=False)
    with pytest.raises(TargetError):
        await resolver.resolve("localhost", 80)
    await resolver.close()
    open_resolver = PublicResolver(private=True)
    assert await open_resolver.resolve("localhost", 80)
    await open_resolver.close()
