"""What the services with a database do before they are ready."""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable
from typing import TypeVar

import structlog

from vedette.rpc.server import listen
from vedette.rpc.token import RpcToken
from vedette.runtime.parameters import environment_name, remarks
from vedette.runtime.process import Identity, StartError
from vedette.runtime.settings import ServiceSettings, StoreSettings
from vedette.store.database import Database, StoreError
from vedette.store.migrations import APPLIED, REQUIRED_SCHEMA, too_old
from vedette.store.secrets import HMAC_SECRET, read

PATIENCE = 30.0
"""Seconds that a service waits for Postgres and its schema."""

Value = TypeVar("Value")

log = structlog.get_logger()


def say_remarks(settings: ServiceSettings) -> None:
    """Log each parameter that was set although it has no effect, and what does its job."""
    for name, reason in remarks(settings):
        log.warning("parameter without effect", parameter=environment_name(name), reason=reason)


def read_token(settings: ServiceSettings) -> RpcToken:
    """The token that the services share; StartError where the file cannot be used."""
    return _read(lambda: RpcToken.from_file(settings.rpc_token_file), "rpc_token_file")


def open_database(settings: StoreSettings, identity: Identity) -> Database:
    """The database of the settings, not yet connected; StartError where the password cannot be read."""
    url = _read(settings.database_url, "db_password_file")
    return Database(url, size=settings.db_connections, name=f"vedette {identity.service} {identity.instance}")


def open_listener(host: str, port: int) -> socket.socket:
    """A listening TCP socket; StartError, with what to do, where it cannot be had."""
    try:
        return listen(host, port)
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port} (TCP): {error.strerror}") from None


def rpc_address(settings: ServiceSettings, listener: socket.socket) -> str:
    """host:port that others reach the RPC server by; StartError where that cannot be told.

    A server that listens on all addresses, as in a container, is reached by the one that its host's name stands for.
    """
    if settings.rpc_address:
        return settings.rpc_address
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = _address_of_this_host(listener.family)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _address_of_this_host(family: socket.AddressFamily) -> str:
    name = socket.gethostname()
    try:
        host = str(socket.getaddrinfo(name, None, family, socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        found = f"has no address ({error.strerror})"
    else:
        if not ipaddress.ip_address(host).is_loopback:
            return host
        found = f"stands for {host}, which others do not reach"
    raise StartError(
        f"VEDETTE_RPC_ADDRESS: has to be set where the RPC server listens on all addresses and the name of the host "
        f"does not tell one: {name} {found}"
    )


async def wait_for_schema(database: Database) -> None:
    """Return when the schema is there, or a later one; StartError after PATIENCE seconds without."""
    problem = "no answer"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    applied = (await database.fetch(APPLIED))[0]["number"]
                    if applied >= REQUIRED_SCHEMA:
                        return
                    problem = too_old(applied)
                except StoreError as error:
                    problem = str(error)
                await asyncio.sleep(0.2)
    raise StartError(f"Postgres cannot be used: {problem}")


async def cluster_secret(database: Database) -> bytes:
    """The secret that all replicas share; StartError where it has not been made."""
    secret = await read(database, HMAC_SECRET)
    if secret is None:
        raise StartError("the cluster secret is missing: run `vedette migrate`")
    return secret


async def wait_until_ready(identity: Identity, stop: asyncio.Event) -> None:
    """Return when the process is ready, or is to stop."""
    while not identity.ready and not stop.is_set():
        await asyncio.sleep(0.01)


def _read(read_it: Callable[[], Value], name: str) -> Value:
    try:
        return read_it()
    except (OSError, ValueError) as error:
        raise StartError(f"VEDETTE_{name.upper()}: {error}") from None
