"""presence-core as a process: role `core` serves the edges, role `api` serves REST."""

import asyncio
import contextlib

import structlog

from presence_core.adapters.announcer import RedisAnnouncer
from presence_core.adapters.postgres import DecidingStore
from presence_core.adapters.redis_dialogs import RedisDialogs
from presence_core.adapters.rest import rest_app
from presence_core.adapters.rest_models import Readiness
from presence_core.adapters.rest_queries import RestQueries
from presence_core.adapters.rpc import RequestsHandler
from presence_core.adapters.subscribers import SubscribersHandler
from presence_core.flows.handle_publish import PublishFlow
from presence_core.flows.handle_subscribe import SubscribeFlow
from presence_core.flows.request_flow import FlowLimits
from presence_core.settings import CoreSettings
from vedette.rpc.client import Peers
from vedette.rpc.contract import REQUESTS, SUBSCRIBERS
from vedette.rpc.discovery import Discovery
from vedette.rpc.server import HttpServer, rpc_app
from vedette.runtime.dialogs import open_dialogs
from vedette.runtime.heartbeat import Heartbeat
from vedette.runtime.logs import configure
from vedette.runtime.process import Identity, Tasks, announce_ready, run_service, unless_stopped
from vedette.runtime.settings import load_settings
from vedette.runtime.start import (
    cluster_secret,
    open_database,
    open_listener,
    read_token,
    rpc_address,
    say_remarks,
    wait_for_schema,
    wait_until_ready,
)
from vedette.store.database import Database, StoreError
from vedette.store.hash_tables import HashTable
from vedette.store.migrations import APPLIED, REQUIRED_SCHEMA
from vedette.store.redis_link import RedisLink
from vedette.store.replicas import seen_within

FRESH = 5.0
"""Seconds within which a process that is alive has been seen."""
DRAIN = 10.0
"""Above the timeout of a database call: what is under way has its outcome by then."""

log = structlog.get_logger()


def main() -> None:
    """Run presence-core."""
    settings = load_settings(CoreSettings)
    identity = Identity("presence-core" if settings.role == "core" else "api")
    configure(
        level=settings.log_level,
        style=settings.log_format,
        service=identity.service,
        instance=identity.instance,
    )
    say_remarks(settings)
    serve = _serve_core if settings.role == "core" else _serve_api
    run_service(lambda stop: serve(settings, identity, stop))


async def _serve_core(settings: CoreSettings, identity: Identity, stop: asyncio.Event) -> None:
    token = read_token(settings)
    database = open_database(settings, identity)
    await unless_stopped(wait_for_schema(database), stop)
    policy = settings.policy(await cluster_secret(database))
    link = RedisLink(settings.redis_url)
    dialogs = await unless_stopped(open_dialogs(settings, database), stop)
    announcer = RedisAnnouncer(
        link,
        HashTable(link, "pres", settings.pres_htable_size),
        HashTable(link, "subs", settings.subs_htable_size) if dialogs is None else None,
    )
    limits = FlowLimits(settings.db_batch, settings.db_calls, settings.queue_size)
    in_redis = None if dialogs is None else RedisDialogs(dialogs.tables, policy)
    store = DecidingStore(database, policy, in_redis)
    publish = PublishFlow(store.publish, announcer, policy, limits, store.held)
    judge = store.subscribe if in_redis is None else in_redis.subscribe
    subscribe = SubscribeFlow(judge, announcer, policy, limits)
    heartbeat = Heartbeat(identity, database)
    app = rpc_app(
        token=token,
        who=identity.hello,
        handlers={REQUESTS: RequestsHandler(publish, subscribe), SUBSCRIBERS: SubscribersHandler(database)},
        heard=heartbeat.heard,
    )
    listener = open_listener(settings.rpc_host, settings.rpc_port)
    identity.address = rpc_address(settings, listener)
    server = HttpServer(app, listener)
    tasks = Tasks()
    await server.start()
    tasks.keep("heartbeat", heartbeat.beat)
    tasks.keep("announcer", announcer.tell)
    await wait_until_ready(identity, stop)
    log.info("ready", address=identity.address)
    announce_ready(settings.ready_fd, address=identity.address, instance=identity.instance)
    await stop.wait()
    log.info("stopping")
    identity.stop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN):
            await asyncio.gather(publish.drain(), subscribe.drain())
    await server.stop()
    await tasks.cancel()
    if dialogs is not None:
        await dialogs.close()
    await link.close()
    await database.close()


async def _serve_api(settings: CoreSettings, identity: Identity, stop: asyncio.Event) -> None:
    token = read_token(settings)
    database = open_database(settings, identity)
    await unless_stopped(wait_for_schema(database), stop)
    peers = Peers(Discovery(settings.core_peers), token=token, who=identity.hello)
    dialogs = await unless_stopped(open_dialogs(settings, database), stop)
    queries = RestQueries(database, dialogs)
    heartbeat = Heartbeat(identity, database)
    listener = open_listener(settings.api_host, settings.api_port)
    identity.address = f"{settings.api_host}:{listener.getsockname()[1]}"

    async def readiness() -> Readiness:
        return await _readiness(database, peers)

    server = HttpServer(rest_app(queries, readiness), listener)
    tasks = Tasks()
    await server.start()
    tasks.keep("heartbeat", heartbeat.beat)
    tasks.keep("peers", peers.watch)
    log.info("ready", address=identity.address)
    announce_ready(settings.ready_fd, address=identity.address, instance=identity.instance)
    await stop.wait()
    log.info("stopping")
    identity.stop()
    await server.stop()
    await tasks.cancel()
    await peers.close()
    if dialogs is not None:
        await dialogs.close()
    await database.close()


async def _readiness(database: Database, peers: Peers) -> Readiness:
    """Schema version right, one core answers through RPC, one notifier alive, one edge reachable."""
    checks = {"presence-core": "ok" if peers.ready() else "no replica answers"}
    try:
        applied = (await database.fetch(APPLIED))[0]["number"]
        rows = await seen_within(database, FRESH)
    except StoreError as error:
        checks["postgres"] = str(error)
        return Readiness(ready=False, checks=checks)
    checks["postgres"] = "ok" if applied >= REQUIRED_SCHEMA else f"schema {applied}, needs {REQUIRED_SCHEMA}"
    alive = {row["service"] for row in rows if row["ready"]}
    for service in ("notifier", "sip-edge"):
        checks[service] = "ok" if service in alive else f"none seen within {FRESH:g} seconds"
    return Readiness(ready=all(state == "ok" for state in checks.values()), checks=checks)
