"""The figures that were kept, and what is new beside them."""

import json
import platform
import sysconfig
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

PATH = Path(__file__).with_name("baseline.json")
_LIBRARIES = ("lxml", "msgspec")


@dataclass(frozen=True, slots=True)
class Baseline:
    """Figures by name of the benchmark, and what they depend on besides the code."""

    instructions: Mapping[str, float] = field(default_factory=dict)
    passes: Mapping[str, float] = field(default_factory=dict)
    """Of the fixed loop, in the time of one operation."""
    octets: Mapping[str, float] = field(default_factory=dict)
    made_with: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """A figure beside the one that was kept; None: there is none."""

    name: str
    now: float | None
    kept: float | None

    @property
    def ratio(self) -> float | None:
        """What is now for one of what was kept; None where one is missing."""
        return None if self.now is None or not self.kept else self.now / self.kept


def made_with() -> dict[str, str]:
    """How this Python was built, and the libraries whose work is counted, too."""
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return {
        "python": f"{platform.python_version()}{' optimised' if optimised else ''}, {platform.python_compiler()}",
        "machine": platform.machine(),
        **{name: version(name) for name in _LIBRARIES},
    }


def read(path: Path = PATH) -> Baseline:
    """What was kept; nothing where there is no file."""
    if not path.exists():
        return Baseline()
    return Baseline(**json.loads(path.read_text(encoding="utf-8")))


def write(new: Baseline, path: Path = PATH) -> None:
    """Keep these figures in place of those that were kept."""
    path.write_text(as_json(new) + "\n", encoding="utf-8")


def as_json(figures: Baseline) -> str:
    """The figures as JSON."""
    return json.dumps(asdict(figures), indent=2)


def compare(now: Mapping[str, float], kept: Mapping[str, float], *, some: bool) -> list[Row]:
    """A row for each figure of now and, unless `some` were asked for only, for each that is there no more."""
    gone = [] if some else [name for name in kept if name not in now]
    return [Row(name, now.get(name), kept.get(name)) for name in (*now, *gone)]
