"""The admin REST on a real database, in the loop of the test, called over HTTP."""

import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import asyncpg
import msgspec
from multidict import CIMultiDict
from starlette.types import ASGIApp
from yarl import URL

from presence_core.adapters.live_hub import LiveHub
from presence_core.adapters.rest.access import Gate
from presence_core.adapters.rest.app import rest_app
from presence_core.adapters.rest.parts import Live, Parts, Readiness, WebhookRules
from presence_core.adapters.rest.replica_calls import ReplicaCalls
from presence_core.adapters.rpc import RequestsHandler
from presence_core.flows.handle_publish import PublishFlow
from presence_core.flows.handle_subscribe import SubscribeFlow
from presence_core.flows.request_flow import FlowLimits
from tests.integration.dialogs_in_redis import DialogsInRedis
from tests.integration.replicas import Core
from tests.unit.presence_core.test_announcements import Told
from vedette.live import NOBODY
from vedette.rpc.client import Peers
from vedette.rpc.contract import Call, Hello, Load, Reply, ReplyBatch, Report, RequestBatch, Setting
from vedette.rpc.discovery import Discovery
from vedette.rpc.server import HttpServer, listen
from vedette.rpc.token import RpcToken
from vedette.rules.permissions import Handling
from vedette.rules.ruling import Defaults
from vedette.runtime.dialogs import DialogsInRedis as RuntimeDialogs
from vedette.store import api_tokens
from vedette.store.api_tokens import Role
from vedette.store.database import Database
from vedette.store.hash_tables import HashTable
from vedette.store.redis_link import RedisLink

PROBLEM = "application/problem+json"
MAX_BODY = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """An answer, its body read as JSON where it is."""

    status: int
    media_type: str
    headers: Mapping[str, str]
    body: Any

    def problem(self, status: int) -> dict[str, Any]:
        """The problem, after a look at what every problem has."""
        assert (self.status, self.media_type) == (status, PROBLEM), self
        found: dict[str, Any] = self.body
        assert set(found) == {"type", "title", "status", "detail", "where", "remedy"}
        assert found["status"] == status
        assert found["title"]
        assert found["detail"]
        assert found["remedy"]
        return found


class RestApi:
    """Calls the API as curl would."""

    def __init__(self, url: str, session: aiohttp.ClientSession, database: Database, app: ASGIApp) -> None:
        self.url = url
        self.database = database
        self.app = app
        self._session = session

    async def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: Any = None,
        data: Any = None,
        headers: Any = None,
        **query: Any,
    ) -> Answer:
        """The answer. `body` is sent as JSON, `data` as it is; the path is written as it stands."""
        sent = {"Authorization": f"Bearer {token}"} if token is not None else {}
        if body is not None:
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        sent |= headers or {}
        url = URL(self.url + path, encoded=True).update_query(query)
        async with self._session.request(method, url, data=data, headers=sent) as answer:
            raw = await answer.read()
            is_json = answer.content_type in {"application/json", PROBLEM}
            found = json.loads(raw) if is_json else raw
            return Answer(answer.status, answer.content_type, CIMultiDict(answer.headers), found)

    async def get(self, path: str, **query: Any) -> Any:
        """The body of a 200."""
        answer = await self.call("GET", path, **query)
        assert answer.status == 200, answer
        return answer.body

    async def description(self) -> dict[str, Any]:
        """The OpenAPI description."""
        found: dict[str, Any] = await self.get("/api/v1/openapi.json")
        return found

    async def token(self, role: Role, domain: str | None = None) -> str:
        """A new token."""
        made = api_tokens.make_token(secrets.token_bytes)

        async def work(connection: "asyncpg.Connection[asyncpg.Record]") -> asyncpg.Record | None:
            return await api_tokens.add(connection, made, f"test {made.id}", role, domain, None)

        assert await self.database.transact(work) is not None
        return made.text


@contextlib.asynccontextmanager
async def served(parts: Parts, *, is_open: bool) -> AsyncIterator[RestApi]:
    """The API on a port of its own."""
    database = parts.database
    gate = Gate(lambda text: api_tokens.find(database, text), is_open=is_open)
    app = rest_app(parts, gate, max_body=MAX_BODY, is_open=is_open)
    listener = listen("127.0.0.1", 0)
    server = HttpServer(app, listener)
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield RestApi(f"http://127.0.0.1:{listener.getsockname()[1]}", session, database, app)
    finally:
        await server.stop()


def parts_of(
    database: Database,
    core: Core,
    redis_url: str = "redis://127.0.0.1:1/0",
    in_redis: DialogsInRedis | None = None,
    hub: LiveHub | None = None,
) -> Parts:
    """What the operations work with, on a core in this process."""
    store = core.store
    publish = PublishFlow(store.publish, Told(), core.policy, FlowLimits(), store.held)
    subscribe = SubscribeFlow(core.judge, Told(), core.policy, FlowLimits())
    handle = RequestsHandler(publish, subscribe)

    async def ask_core(call: Call) -> Reply:
        answer = await handle(msgspec.msgpack.encode(RequestBatch([call])))
        return msgspec.msgpack.decode(answer, type=ReplyBatch).replies[0]

    link = RedisLink(redis_url)
    return Parts(
        database=database,
        readiness=ready,
        ask_core=ask_core,
        replica_calls=ReplicaCalls(database, Peers(Discovery(""), token=RpcToken("t" * 32), who=hello)),
        link=link,
        published=HashTable(link, "pres", 4),
        cached_dialogs=HashTable(link, "subs", 5),
        live=Live(hub or LiveHub("test", buffer=100, queue=50, readers=3), _begin, NOBODY),
        webhooks=WebhookRules(private=True, max_waiting=20),
        own_report=lambda: ("api", Report(Load(0.5, 0.01, 1000), [Setting("max_expires", "3600", "default")])),
        defaults=Defaults(default_rule=Handling.CONFIRM),
        dialogs=None if in_redis is None else RuntimeDialogs(in_redis.tables, in_redis.keeper, in_redis.link),
    )


async def _begin() -> None:
    return None


def hello() -> Hello:
    """Who the api is."""
    return Hello("api", "api", "", "1", 1, "host", 1.0, ready=True)


async def ready() -> Readiness:
    """What /readyz finds."""
    return Readiness(ready=True, checks={"postgres": "ok"})
