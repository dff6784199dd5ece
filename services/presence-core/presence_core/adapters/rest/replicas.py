"""Replicas: every process of every service, how busy it is, and the parameters that it runs with."""

import asyncio
from collections.abc import Mapping

import asyncpg
import msgspec
from pydantic import BaseModel, Field

from presence_core.adapters.rest.operations import Operations
from presence_core.adapters.rest.parts import Parts
from presence_core.adapters.rest.replica_calls import FRESH
from vedette.rpc.contract import REPORT, UNREADABLE, Report
from vedette.runtime.parameters import environment_name, place
from vedette.store.api_tokens import Role
from vedette.store.replicas import seen_within

SEEN_WITHIN = 60.0
PATIENCE = 1.0
"""Seconds that each process has to say how busy it is."""


class LoadView(BaseModel):
    """How busy a process was within the last ten seconds."""

    cpu: float = Field(description="Share of one core.")
    lag: float = Field(description="Seconds: the longest that something due had to wait for the event loop.")
    memory: int = Field(description="Octets in memory.")


class ReplicaView(BaseModel):
    """One process of one service."""

    service: str
    instance: str
    address: str
    version: str
    pid: int
    host: str
    uptime: float = Field(description="Seconds since it was started.")
    seen: float = Field(description="Seconds since it was last seen.")
    ready: bool
    load: LoadView | None = Field(description="null: it does not answer, or is of a version that does not say.")


class ReplicaList(BaseModel):
    """All processes seen lately."""

    items: list[ReplicaView]


class SettingView(BaseModel):
    """A parameter with one value."""

    name: str
    environment: str
    value: str = Field(description="As it is written in the environment; passwords are masked.")
    source: str = Field(description="default, environment or file.")
    services: list[str]
    instances: list[str] = Field(description="The processes that run with it.")


class SettingList(BaseModel):
    """The parameters in force; one that has two values in two processes comes twice."""

    items: list[SettingView]
    silent: list[str] = Field(description="Processes that did not say what they run with.")


_REPLICA = {
    "service": "presence-core",
    "instance": "7f3a9c2b41d0",
    "address": "127.0.0.1:41843",
    "version": "0.1.0",
    "pid": 4711,
    "host": "server",
    "uptime": 86400.5,
    "seen": 0.4,
    "ready": True,
    "load": {"cpu": 0.21, "lag": 0.003, "memory": 88604672},
}
_SETTING = {
    "name": "max_expires",
    "environment": "VEDETTE_MAX_EXPIRES",
    "value": "3600",
    "source": "default",
    "services": ["presence-core"],
    "instances": ["7f3a9c2b41d0"],
}


def add_replicas(operations: Operations, parts: Parts) -> None:
    """Add the operations."""

    @operations.add(
        "GET", "/replicas", tag="system", role=Role.READER, whole_system=True, example={"items": [_REPLICA]}
    )
    async def list_replicas() -> ReplicaList:
        """List every process of every service that was seen within the last minute."""
        rows, reports = await asyncio.gather(seen_within(parts.database, SEEN_WITHIN), _reports(parts))
        return ReplicaList(items=[_replica(row, reports.get(row["instance"])) for row in rows])

    @operations.add(
        "GET",
        "/settings",
        tag="system",
        role=Role.READER,
        whole_system=True,
        example={"items": [_SETTING], "silent": []},
    )
    async def list_settings() -> SettingList:
        """List the parameters that the processes run with, passwords masked."""
        rows, reports = await asyncio.gather(seen_within(parts.database, FRESH), _reports(parts))
        services = {row["instance"]: row["service"] for row in rows}
        found: dict[tuple[str, str, str], list[str]] = {}
        for instance in services:
            report = reports.get(instance)
            for setting in () if report is None else report.settings:
                found.setdefault((setting.name, setting.value, setting.source), []).append(instance)
        items = [
            SettingView(
                name=name,
                environment=environment_name(name),
                value=value,
                source=source,
                services=sorted({services[instance] for instance in instances}),
                instances=instances,
            )
            for (name, value, source), instances in found.items()
        ]
        items.sort(key=lambda item: place(item.name))
        return SettingList(items=items, silent=[instance for instance in services if reports.get(instance) is None])


async def _reports(parts: Parts) -> Mapping[str, Report | None]:
    """By instance what each process says of itself."""
    answers = await parts.replica_calls.each(REPORT, timeout=PATIENCE)
    return {instance: _read(answer) for instance, answer in answers.items()} | dict([parts.own_report()])


def _read(answer: bytes | None) -> Report | None:
    try:
        return None if answer is None else msgspec.msgpack.decode(answer, type=Report)
    except UNREADABLE:
        return None


def _replica(row: asyncpg.Record, report: Report | None) -> ReplicaView:
    return ReplicaView(
        service=row["service"],
        instance=row["instance"],
        address=row["address"],
        version=row["version"],
        pid=row["pid"],
        host=row["host"],
        uptime=row["uptime"],
        seen=row["age"],
        ready=row["ready"] and row["age"] < FRESH,
        load=None
        if report is None
        else LoadView(cpu=report.load.cpu, lag=report.load.lag, memory=report.load.memory),
    )
