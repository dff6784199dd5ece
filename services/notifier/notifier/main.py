"""notifier as a process."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine

import structlog

from notifier.adapters.bindings import BindingTable
from notifier.adapters.census import Census
from notifier.adapters.liveness import Liveness
from notifier.adapters.metrics import METRICS, NotifierParts
from notifier.adapters.postgres import NotifierStore
from notifier.adapters.recount import Recount
from notifier.adapters.redis_dialogs import RedisDialogStore
from notifier.adapters.rpc import CleanupHandler, LeavingHandler, OutcomesHandler
from notifier.adapters.state_reader import StateReader
from notifier.domain.views import Views
from notifier.flows.delivery import Delivery
from notifier.flows.expiry import Expiry
from notifier.flows.following import Following
from notifier.flows.judging import Judging
from notifier.flows.live_events import LiveOutcomes
from notifier.flows.recovery import Recovery
from notifier.flows.settling import Settling
from notifier.settings import NotifierSettings
from vedette.events.package import Preferences
from vedette.rpc.client import Peers
from vedette.rpc.contract import CLEANUP, LEAVING, OUTCOMES, REPORT, TRACE
from vedette.rpc.discovery import Discovery
from vedette.rpc.server import HttpServer, rpc_app
from vedette.runtime.dialogs import DialogsInRedis, open_dialogs
from vedette.runtime.heartbeat import Heartbeat
from vedette.runtime.journal import Journal, TraceHandler
from vedette.runtime.logs import configure
from vedette.runtime.metrics import Metrics
from vedette.runtime.process import Identity, Tasks, announce_ready, run_service, unless_stopped
from vedette.runtime.report import Reporter
from vedette.runtime.settings import load_settings
from vedette.runtime.start import (
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
from vedette.store.authorization import Rulebooks
from vedette.store.bell import BellListener, ring
from vedette.store.database import Database, StoreError
from vedette.store.hash_tables import HashTable
from vedette.store.live_feed import LiveFeed
from vedette.store.redis_link import RedisAwayError, RedisLink

DRAIN = 3.0

log = structlog.get_logger()


def main() -> None:
    """Run notifier."""
    settings = load_settings(NotifierSettings)
    identity = Identity("notifier")
    configure(
        level=settings.log_level, style=settings.log_format, service=identity.service, instance=identity.instance
    )
    say_remarks(settings)
    run_service(lambda stop: _serve(settings, identity, stop))


async def _serve(settings: NotifierSettings, identity: Identity, stop: asyncio.Event) -> None:
    token = read_token(settings)
    listener = open_listener(settings.rpc_host, settings.rpc_port)
    identity.address = rpc_address(settings, listener)
    database = open_database(settings, identity)
    await unless_stopped(wait_for_schema(database), stop)
    link = RedisLink(settings.redis_url)
    published = HashTable(link, "pres", settings.pres_htable_size)
    in_redis = await unless_stopped(open_dialogs(settings, database), stop)
    store, cached = _store(settings, identity, database, in_redis, link)
    reader = StateReader(store, published, cached, remember=settings.remember_dialogs)
    edges = Peers(Discovery(settings.edge_peers), token=token, who=identity.hello)
    journal = Journal(settings.trace_buffer, verbose=settings.log_level == "debug")
    liveness = Liveness(database, identity.instance, lambda: recovery.claims_lost())
    heartbeat = Heartbeat(identity, database)
    bell = BellListener(link, identity.instance, heard=lambda: delivery.wake(), news=reader.learn)
    recovery = Recovery(
        identity.instance,
        store,
        liveness,
        edges,
        wake=lambda: delivery.wake(),
        beats=lambda: heartbeat.unbroken,
    )
    views = _views(settings)
    delivery = Delivery(
        store,
        reader,
        views,
        edges,
        Judging(Rulebooks(database), reader, store, settings.defaults()),
        bell_heard=lambda: bell.connected,
        found=bell.found,
        edge_gone=recovery.suspect,
        claims_lost=recovery.claims_lost,
        expires_offset=settings.expires_offset,
        suppress_unchanged=bool(settings.suppress_unchanged),
        patience=settings.notify_patience,
        journal=journal,
    )
    census = Census(database, identity.instance, settings.census_period, dialogs_in_redis=in_redis is not None)
    live, feed = _live(store, link, identity)
    settling = Settling(
        store,
        delivery.wake,
        end_sub_on_timeout=bool(settings.end_sub_on_timeout),
        clock=census.now,
        live=live,
        journal=journal,
    )
    expiry = Expiry(
        store,
        published,
        cached,
        wake=delivery.wake,
        ring=lambda: ring(link),
        clean_period=settings.clean_period,
        live=live,
    )
    reporter = Reporter(settings)
    app = rpc_app(
        token=token,
        who=identity.hello,
        handlers={
            OUTCOMES: OutcomesHandler(settling),
            LEAVING: LeavingHandler(recovery),
            CLEANUP: CleanupHandler(expiry),
            REPORT: reporter,
            TRACE: TraceHandler(journal),
        },
        heard=lambda _hello: None,
    )
    metrics = Metrics(
        settings,
        identity,
        (METRICS, NotifierParts(delivery, settling, expiry, views, reader, edges, census)),
        (STORE_METRICS, StoreParts(database, link)),
    )
    server = HttpServer(app, listener)
    tasks, working, listening = Tasks(), Tasks(), Tasks()
    await asyncio.gather(server.start(), metrics.start())
    tasks.keep("liveness", liveness.hold)
    await unless_stopped(liveness.held.wait(), stop)
    for name, run in (("heartbeat", heartbeat.beat), ("live feed", feed.run), ("live outcomes", live.run)):
        tasks.keep(name, run)
    await edges.probe()
    tasks.keep("edges", edges.watch)
    for name, run in (
        ("delivery", delivery.run),
        ("expiry", expiry.run),
        ("sweep", expiry.sweep),
        ("recovery", recovery.run),
        ("census", census.run),
        ("recount", Recount(database).run),
        ("metrics", metrics.watch_loop),
        ("report", reporter.watch),
        *([("keeper", in_redis.keeper.run)] if in_redis is not None else []),
        *_following(settings, database, delivery, link, dialogs_in_redis=in_redis is not None),
    ):
        working.keep(name, run)
    listening.keep("bell", bell.listen)
    await wait_until_ready(identity, stop)
    log.info("ready", address=identity.address, metrics=metrics.address)
    announce_ready(settings.ready_fd, address=identity.address, metrics=metrics.address, instance=identity.instance)
    await stop.wait()
    log.info("stopping")
    identity.stop()
    handed_over = await _hand_over(delivery, listening)
    await working.cancel()
    await delivery.close()
    await asyncio.gather(server.stop(), metrics.stop())
    await _ring(link)  # for what the last outcomes have made due
    await tasks.cancel()
    await _leave(liveness, identity.instance, left_nothing=handed_over and not recovery.misses_claims)
    await _close(live, feed, edges, in_redis)
    await asyncio.gather(link.close(), database.close())


def _following(
    settings: NotifierSettings, database: Database, delivery: Delivery, link: RedisLink, *, dialogs_in_redis: bool
) -> list[tuple[str, Callable[[], Coroutine[None, None, None]]]]:
    """What is done for users who register; dialogs in Redis are left where they are."""
    following = Following(
        BindingTable(database), wake=delivery.wake, ring=lambda: ring(link), clean_period=settings.clean_period
    )
    sweep = ("bindings", following.sweep)
    return [sweep] if dialogs_in_redis else [sweep, ("following", following.run)]


def _views(settings: NotifierSettings) -> Views:
    return Views(
        settings.remember_documents,
        offline_body=bool(settings.notify_offline_body),
        preferences=Preferences(force_single_dialog=bool(settings.force_single_dialog)),
        mix_dialog_presence=bool(settings.mix_dialog_presence),
    )


def _store(
    settings: NotifierSettings,
    identity: Identity,
    database: Database,
    in_redis: DialogsInRedis | None,
    link: RedisLink,
) -> tuple[NotifierStore | RedisDialogStore, HashTable | None]:
    """Where the dialogs are, and their cache where there is one."""
    in_postgres = NotifierStore(
        database,
        identity.instance,
        patience=settings.notify_patience,
        waiting_days=settings.waiting_subs_daysno,
        mix_dialog_presence=bool(settings.mix_dialog_presence),
    )
    if in_redis is None:
        return in_postgres, HashTable(link, "subs", settings.subs_htable_size)
    store = RedisDialogStore(
        in_postgres,
        in_redis.tables,
        identity.instance,
        patience=settings.notify_patience,
        keep_soon=in_redis.keeper.soon,
    )
    return store, None


def _live(
    store: NotifierStore | RedisDialogStore, link: RedisLink, identity: Identity
) -> tuple[LiveOutcomes, LiveFeed]:
    feed = LiveFeed(link, identity.instance, identity.service)
    return LiveOutcomes(store, feed), feed


async def _close(live: LiveOutcomes, feed: LiveFeed, edges: Peers, in_redis: DialogsInRedis | None) -> None:
    await live.finish()
    await feed.leave()
    await edges.close()
    if in_redis is not None:
        await in_redis.close()


async def _leave(liveness: Liveness, instance: str, *, left_nothing: bool) -> None:
    """Where all that we claimed is with an edge, which will report, nobody is to look for what we have left."""
    if left_nothing:
        with contextlib.suppress(StoreError):
            await liveness.forget(instance)


async def _ring(link: RedisLink) -> None:
    with contextlib.suppress(RedisAwayError):
        await ring(link)


async def _hand_over(delivery: Delivery, listening: Tasks) -> bool:
    """Whether all that was claimed is with the edges, in time. From now on others are rung."""
    await listening.cancel()
    try:
        async with asyncio.timeout(DRAIN):
            await delivery.drain()
    except TimeoutError:
        return False
    return not delivery.is_unsure
