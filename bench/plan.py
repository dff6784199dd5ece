"""What is measured, of which systems, and how much of it."""

from collections.abc import Sequence
from dataclasses import dataclass

SYSTEMS = ("vedette", "stored", "database-only", "inline", "memory")
COMMON_RATE = 400
"""Requests in a second at which CPU time is compared: every system holds it."""


@dataclass(frozen=True)
class Part:
    """One thing that is measured."""

    name: str
    systems: Sequence[str]
    """Those that show something by it."""
    seconds: float
    """About how long it takes for one system, on two cores that nobody else uses."""


_STORES = ("vedette", "stored", "database-only", "memory")
PARTS = (
    Part("one-watcher", SYSTEMS, 25),
    Part("publish", _STORES, 70),
    Part("refresh", _STORES, 70),
    Part("modify", _STORES, 70),
    Part("subscribe", SYSTEMS, 70),
    Part("fan-out", SYSTEMS, 30),
    Part("mixed", ("vedette", "database-only"), 170),
    Part("stored-dialogs", ("vedette",), 470),
    Part("replicas", ("vedette",), 130),
    Part("connections", ("vedette",), 40),
    Part("transactions", ("vedette",), 10),
)
"""In the order in which they are measured; the first six of a system one after the other on the same run of it."""
SHARED = ("one-watcher", "publish", "refresh", "modify", "subscribe", "fan-out")


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    seconds: float
    """Of each step at a rate."""
    watchers: int
    """Of one presentity, for the fan-out."""
    rounds: int
    """Changes of its state."""
    commit_ms: float
    """How much longer each flush of Postgres's log is made to take."""
    changes: int
    """For one watcher."""
    presentities: int
    """For the mixed load, each with `watchers_each`."""
    watchers_each: int
    mixed_rate: float
    mixed_seconds: float
    sizes: tuple[int, ...]
    """Dialogs stored, while costs are compared."""
    replica_rate: float
    """PUBLISHes in a second for sets of 1, 2 and 4."""
    connections: int
    """Idle ones."""


def choose(parts: Sequence[str], systems: Sequence[str]) -> list[tuple[Part, list[str]]]:
    """The parts of these names with those of the systems that they have."""
    chosen = [(part, [name for name in systems if name in part.systems]) for part in PARTS if part.name in parts]
    return [(part, names) for part, names in chosen if names]


def estimate(chosen: Sequence[tuple[Part, Sequence[str]]]) -> float:
    """About how many seconds all of it takes."""
    return sum(part.seconds * len(names) for part, names in chosen)
