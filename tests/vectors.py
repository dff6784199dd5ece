"""The messages and documents that other people wrote, read where they lie (VEDETTE_VECTORS)."""

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(os.environ.get("VEDETTE_VECTORS", ROOT.parent / "shared" / "vectors"))

needs_vectors = pytest.mark.skipif(
    not (FOLDER / "index.json").exists(),
    reason=f"other people's test vectors are not part of the project and not in {FOLDER} (VEDETTE_VECTORS)",
)


@dataclass(frozen=True)
class Vector:
    """One file of the index."""

    path: str
    facts: dict[str, Any]

    @property
    def data(self) -> bytes:
        """Its octets."""
        return (FOLDER / self.path).read_bytes()

    @property
    def expected(self) -> list[str]:
        """The outcomes that the index accepts."""
        return str(self.facts["expected"]).split("|")

    def __str__(self) -> str:
        return self.path


@cache
def _index() -> list[Vector]:
    path = FOLDER / "index.json"
    if not path.exists():
        return []
    entries = json.loads(path.read_text(encoding="utf-8"))["entries"]
    return [Vector(entry["file"], entry) for entry in entries]


def vectors(folder: str) -> list[Vector]:
    """The indexed files below a folder; none where the vectors are not there."""
    return [vector for vector in _index() if vector.path.startswith(f"{folder}/")]
