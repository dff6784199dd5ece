"""presence-core as a process: role `core` serves the edges, role `api` serves REST."""

import asyncio
import contextlib
import secrets
import socket
import time

import structlog

from presence_core.adapters.announcer import RedisAnnouncer
from presence_core.adapters.bans import BansHandler
from presence_core.adapters.live_hub import LiveHub
from presence_core.adapters.live_source import LiveSource
from presence_core.adapters.metrics import METRICS, CoreParts, Flow
from presence_core.adapters.postgres import DecidingStore
from presence_core.adapters.redis_dialogs import RedisDialogs
from presence_core.adapters.registrations import RegistersHandler, RegistrationStore
from presence_core.adapters.rest.access import Gate
from presence_core.adapters.rest.app import rest_app
from presence_core.adapters.rest.core_calls import CoreCalls
from presence_core.adapters.rest.metrics import METRICS as REST_METRICS
from presence_core.adapters.rest.metrics import CountedAnswers
from presence_core.adapters.rest.parts import Live, Parts, Readiness, WebhookRules
from presence_core.adapters.rest.replica_calls import ReplicaCalls
from presence_core.adapters.rest.retention import forget_for_ever
from presence_core.adapters.rpc import RequestsHandler
from presence_core.adapters.subscribers import SubscribersHandler
from presence_core.adapters.webhook_sender import WebhookSender
from presence_core.domain.refusals import RETRY_AFTER, RETRY_LATEST
from presence_core.flows.handle_publish import PublishFlow
from presence_core.flows.handle_register import RegisterFlow
from presence_core.flows.handle_subscribe import SubscribeFlow
from presence_core.flows.judging import Judging
from presence_core.flows.request_flow import FlowLimits
from presence_core.settings import CoreSettings
from vedette.rpc.client import Peers
from vedette.rpc.contract import BANS, REGISTERS, REPORT, REQUESTS, SUBSCRIBERS, TRACE
from vedette.rpc.discovery import Discovery
from vedette.rpc.server import HttpServer, rpc_app
from vedette.runtime.dialogs import open_dialogs
from vedette.runtime.heartbeat import Heartbeat
from vedette.runtime.journal import Journal, TraceHandler
from vedette.runtime.logs import configure
from vedette.runtime.metrics import Metrics
from vedette.runtime.process import Identity, Tasks, announce_ready, run_service, unless_stopped
from vedette.runtime.report import Reporter
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
from vedette.runtime.store_metrics import METRICS as STORE_METRICS
from vedette.runtime.store_metrics import StoreParts
from vedette.store import api_tokens
from vedette.store.authorization import Rulebooks
from vedette.store.database import Database, StoreError
from vedette.store.hash_tables import HashTable
from vedette.store.live_feed import LiveFeed
from vedette.store.migrations import APPLIED, REQUIRED_SCHEMA
from vedette.store.redis_link import RedisLink
from vedette.store.replicas import seen_within

FRESH = 5.0
"""Seconds within which a process that is alive has been seen."""
STUCK = 30.0
"""Seconds after which a client of REST that takes nothing of what it is sent is given up."""
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


def _some_seconds() -> int:
    return RETRY_AFTER + secrets.randbelow(RETRY_LATEST - RETRY_AFTER + 1)


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
    limits = FlowLimits(settings.db_batch, settings.db_calls, settings.queue_size, _some_seconds)
    in_redis = None if dialogs is None else RedisDialogs(dialogs.tables, policy)
    store = DecidingStore(database, policy, in_redis)
    live = LiveFeed(link, identity.instance, identity.service)
    journal = Journal(settings.trace_buffer, verbose=settings.log_level == "debug")
    publish = PublishFlow(store.publish, announcer, policy, limits, store.held, live, journal)
    judging = Judging(
        store.subscribe if in_redis is None else in_redis.subscribe,
        Rulebooks(database),
        settings.defaults(),
        spheres=store.spheres,
        clock=time.time,
        compares=in_redis is None,
    )
    subscribe = SubscribeFlow(judging.apply, announcer, policy, limits, live, journal)
    bindings = RegistrationStore(database, max_contacts=settings.max_contacts)
    register = RegisterFlow(bindings.register, policy, limits)
    heartbeat = Heartbeat(identity, database)
    reporter = Reporter(settings)
    app = rpc_app(
        token=token,
        who=identity.hello,
        handlers={
            REQUESTS: RequestsHandler(publish, subscribe),
            REGISTERS: RegistersHandler(register),
            SUBSCRIBERS: SubscribersHandler(database),
            REPORT: reporter,
            TRACE: TraceHandler(journal),
            BANS: BansHandler(database),
        },
        heard=heartbeat.heard,
    )
    listener = open_listener(settings.rpc_host, settings.rpc_port)
    identity.address = rpc_address(settings, listener)
    flows: dict[str, Flow] = {"PUBLISH": publish.flow, "SUBSCRIBE": subscribe.flow, "REGISTER": register.flow}
    metrics = Metrics(
        settings, identity, (METRICS, CoreParts(flows, announcer)), (STORE_METRICS, StoreParts(database, link))
    )
    server = HttpServer(app, listener)
    tasks = Tasks()
    await asyncio.gather(server.start(), metrics.start())
    tasks.keep("heartbeat", heartbeat.beat)
    tasks.keep("report", reporter.watch)
    tasks.keep("announcer", announcer.tell)
    tasks.keep("metrics", metrics.watch_loop)
    tasks.keep("live feed", live.run)
    await wait_until_ready(identity, stop)
    log.info("ready", address=identity.address, metrics=metrics.address)
    announce_ready(settings.ready_fd, address=identity.address, metrics=metrics.address, instance=identity.instance)
    await stop.wait()
    log.info("stopping")
    identity.stop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN):
            await asyncio.gather(publish.drain(), subscribe.drain(), register.drain())
    await asyncio.gather(server.stop(), metrics.stop())
    await tasks.cancel()
    await announcer.tell_now()
    await live.leave()
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
    link = RedisLink(settings.redis_url)
    heartbeat = Heartbeat(identity, database)
    reporter = Reporter(settings)
    listener = open_listener(settings.api_host, settings.api_port)
    identity.address = f"{settings.api_host}:{listener.getsockname()[1]}"
    # Inherited by its connections: one whose reader takes nothing ends, whatever waits in it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STUCK * 1000))

    async def readiness() -> Readiness:
        return await _readiness(database, peers)

    hub = LiveHub(
        identity.instance,
        buffer=settings.api_live_buffer,
        queue=settings.api_live_queue,
        readers=settings.api_live_readers,
    )
    source = LiveSource(hub, link, database)
    feed = LiveFeed(link, identity.instance, identity.service)
    is_open = settings.api_is_open()
    gate = Gate(lambda text: api_tokens.find(database, text), is_open=is_open)
    app = rest_app(
        Parts(
            database=database,
            readiness=readiness,
            ask_core=CoreCalls(peers).ask,
            replica_calls=ReplicaCalls(database, peers),
            link=link,
            published=HashTable(link, "pres", settings.pres_htable_size),
            cached_dialogs=HashTable(link, "subs", settings.subs_htable_size),
            live=Live(hub, source.begin, feed),
            webhooks=WebhookRules(bool(settings.api_webhook_private_targets), settings.api_webhook_max_waiting),
            own_report=lambda: (identity.instance, reporter.report()),
            defaults=settings.defaults(),
            dialogs=dialogs,
            fold_case=bool(settings.sip_uri_match),
            mixes_calls=bool(settings.mix_dialog_presence),
        ),
        gate,
        max_body=settings.api_max_body_size,
        is_open=is_open,
    )
    counted = CountedAnswers(app)
    metrics = Metrics(settings, identity, (REST_METRICS, counted), (STORE_METRICS, StoreParts(database)))
    server = HttpServer(counted, listener)
    tasks = Tasks()
    await asyncio.gather(server.start(), metrics.start())
    tasks.keep("heartbeat", heartbeat.beat)
    tasks.keep("report", reporter.watch)
    tasks.keep("peers", peers.watch)
    tasks.keep("live feed", feed.run)
    tasks.keep("live source", source.run)
    tasks.keep("webhooks", WebhookSender(database, settings.webhook_limits()).run)
    tasks.keep("retention", lambda: forget_for_ever(database, settings.api_audit_days))
    tasks.keep("metrics", metrics.watch_loop)
    await wait_until_ready(identity, stop)
    log.info("ready", address=identity.address, metrics=metrics.address, auth="none" if is_open else "token")
    announce_ready(settings.ready_fd, address=identity.address, metrics=metrics.address, instance=identity.instance)
    await stop.wait()
    log.info("stopping")
    identity.stop()
    hub.close()
    await asyncio.gather(server.stop(), metrics.stop())
    await tasks.cancel()
    await feed.leave()
    await asyncio.gather(peers.close(), link.close())
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
