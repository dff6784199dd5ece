"""Calls to single processes of other services, which the table of replicas names."""

import asyncio

from vedette.rpc.client import NotDoneError, OutcomeUnknownError, Peer, Peers
from vedette.store.database import Database
from vedette.store.replicas import seen_within

FRESH = 5.0
"""Seconds within which a process that is alive has been seen."""


class NoReplicaError(Exception):
    """Nobody of the service took the call; the text says who was asked."""


class ReplicaCalls:
    """Calls by service or instance; over the connections that the calls to cores have."""

    def __init__(self, database: Database, peers: Peers) -> None:
        self._database = database
        self._peers = peers

    async def any_of(self, service: str, path: str, *, timeout: float) -> bytes:
        """The answer of the first process of the service that takes the call.

        Raises NoReplicaError where none does, OutcomeUnknownError where one may have, StoreError.
        """
        asked: list[str] = []
        for row in await seen_within(self._database, FRESH):
            if row["service"] == service and row["ready"]:
                asked.append(row["address"])
                try:
                    return await self._call(row["address"], row["instance"], path, timeout)
                except NotDoneError:
                    continue
        raise NoReplicaError(f"no {service} takes the call (asked: {', '.join(asked) or 'none, as none is ready'})")

    async def each(self, path: str, *, timeout: float, body: bytes = b"") -> dict[str, bytes | None]:
        """By instance what every process that was seen lately and has RPC answers; None where it does not.

        Raises StoreError.
        """
        rows = [row for row in await seen_within(self._database, FRESH) if row["service"] != "api"]

        async def one(address: str, instance: str) -> bytes | None:
            try:
                return await self._call(address, instance, path, timeout, body)
            except (NotDoneError, OutcomeUnknownError):
                return None

        answers = await asyncio.gather(*(one(row["address"], row["instance"]) for row in rows))
        return {row["instance"]: answer for row, answer in zip(rows, answers, strict=True)}

    async def _call(self, address: str, instance: str, path: str, timeout: float, body: bytes = b"") -> bytes:
        return await self._peers.call(Peer(address), path, body, timeout=timeout, instance=instance)
