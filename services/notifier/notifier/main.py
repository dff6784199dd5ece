"""notifier as a process."""

import asyncio
import contextlib

import structlog

from notifier.adapters.liveness import Liveness
from notifier.adapters.postgres import NotifierStore
from notifier.adapters.redis_dialogs import RedisDialogStore
from notifier.adapters.rpc import LeavingHandler, OutcomesHandler
from notifier.adapters.state_reader import StateReader
from notifier.domain.views import Views
from notifier.flows.delivery import Delivery
from notifier.flows.expiry import Expiry
from notifier.flows.recovery import Recovery
from notifier.flows.settling import Settling
from notifier.settings import NotifierSettings
from vedette.events.package import Preferences
from vedette.rpc.client import Peers
from vedette.rpc.contract import LEAVING, OUTCOMES
from vedette.rpc.discovery import Discovery
from vedette.rpc.server import HttpServer, rpc_app
from vedette.runtime.dialogs import DialogsInRedis, open_dialogs
from vedette.runtime.heartbeat import Heartbeat
from vedette.runtime.logs import configure
from vedette.runtime.process import Identity, Tasks, announce_ready, run_service, unless_stopped
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
from vedette.store.bell import BellListener, ring
from vedette.store.database import Database, StoreError
from vedette.store.hash_tables import HashTable
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
    liveness = Liveness(database, identity.instance)
    heartbeat = Heartbeat(identity, database)
    bell = BellListener(link, heard=lambda: delivery.wake())
    recovery = Recovery(
        identity.instance,
        store,
        liveness,
        edges,
        wake=lambda: delivery.wake(),
        beats=lambda: heartbeat.unbroken,
    )
    delivery = Delivery(
        store,
        reader,
        Views(
            settings.remember_documents,
            offline_body=bool(settings.notify_offline_body),
            preferences=Preferences(force_single_dialog=bool(settings.force_single_dialog)),
            mix_dialog_presence=bool(settings.mix_dialog_presence),
        ),
        edges,
        bell_heard=lambda: bell.connected,
        edge_gone=recovery.suspect,
        claims_lost=recovery.claims_lost,
        expires_offset=settings.expires_offset,
        suppress_unchanged=bool(settings.suppress_unchanged),
    )
    settling = Settling(store, delivery.wake, end_sub_on_timeout=bool(settings.end_sub_on_timeout))
    expiry = Expiry(
        store,
        published,
        cached,
        wake=delivery.wake,
        ring=lambda: ring(link),
        clean_period=settings.clean_period,
    )
    app = rpc_app(
        token=token,
        who=identity.hello,
        handlers={OUTCOMES: OutcomesHandler(settling), LEAVING: LeavingHandler(recovery)},
        heard=lambda _hello: None,
    )
    server = HttpServer(app, listener)
    tasks = Tasks()
    working = Tasks()
    await server.start()
    tasks.keep("liveness", liveness.hold)
    await unless_stopped(liveness.held.wait(), stop)
    tasks.keep("heartbeat", heartbeat.beat)
    await edges.probe()
    tasks.keep("edges", edges.watch)
    for name, run in (
        ("bell", bell.listen),
        ("delivery", delivery.run),
        ("expiry", expiry.run),
        ("sweep", expiry.sweep),
        ("recovery", recovery.run),
        *([("keeper", in_redis.keeper.run)] if in_redis is not None else []),
    ):
        working.keep(name, run)
    await wait_until_ready(identity, stop)
    log.info("ready", address=identity.address)
    announce_ready(settings.ready_fd, address=identity.address, instance=identity.instance)
    await stop.wait()
    log.info("stopping")
    identity.stop()
    handed_over = await _hand_over(delivery)
    await working.cancel()
    await delivery.close()
    await server.stop()
    with contextlib.suppress(RedisAwayError):
        await ring(link)  # for what the last outcomes have made due
    await tasks.cancel()
    if handed_over and not recovery.misses_claims:
        await _leave(liveness, identity.instance)
    if in_redis is not None:
        await in_redis.close()
    await asyncio.gather(edges.close(), link.close(), database.close())


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


async def _leave(liveness: Liveness, instance: str) -> None:
    """All that we claimed is with an edge, which will report: nobody is to look for what we have left."""
    with contextlib.suppress(StoreError):
        await liveness.forget(instance)


async def _hand_over(delivery: Delivery) -> bool:
    """Whether all that was claimed is with the edges, in time."""
    try:
        async with asyncio.timeout(DRAIN):
            await delivery.drain()
    except TimeoutError:
        return False
    return not delivery.is_unsure
