"""What a run has found out, kept as JSON while it goes, so that a part that fails loses nothing of the others."""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.connections import ConnectionMemory
from bench.fan_out import FanOut
from bench.measurement import Peak
from bench.mixed import Mixed
from bench.phones import Load
from bench.plan import Plan
from bench.replicas import ReplicaCost
from bench.stored_dialogs import StoredCost


@dataclass
class Facts:
    """Where and how it was measured."""

    at: str
    command: str
    processor: str
    kernel: str
    python: str
    vedette: str
    kamailio: str
    """Empty where it was not measured."""
    postgres: dict[str, str]
    commit_ms: float
    load_average: float
    """At the start, over five minutes."""


@dataclass
class Document:
    """Everything; figures by the name of the system."""

    facts: Facts
    plan: Plan
    one_watcher: dict[str, Load] = field(default_factory=dict)
    publish: dict[str, Peak] = field(default_factory=dict)
    refresh: dict[str, Peak] = field(default_factory=dict)
    modify: dict[str, Peak] = field(default_factory=dict)
    subscribe: dict[str, Peak] = field(default_factory=dict)
    fan_out: dict[str, FanOut] = field(default_factory=dict)
    mixed: dict[str, Mixed] = field(default_factory=dict)
    stored_dialogs: list[StoredCost] = field(default_factory=list)
    replicas: list[ReplicaCost] = field(default_factory=list)
    connections: ConnectionMemory | None = None
    transactions: dict[str, int] = field(default_factory=dict)
    """Octets that a transaction of each kind keeps."""
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each part of each system took."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why there are no figures of a part of a system."""


def write(document: Document, path: Path) -> None:
    """Put it into a file, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    draft.replace(path)


def read(path: Path) -> Document:
    """What `write` has kept. Raises OSError, msgspec.DecodeError."""
    return msgspec.json.decode(path.read_bytes(), type=Document)
