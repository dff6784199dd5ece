"""What a check has found."""

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """How bad it is; the worst one is the exit code."""

    OK = 0
    WARNING = 1
    FAILURE = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    level: Level
    text: str
    remedy: str = ""
    """What to do; empty where all is well."""

    def facts(self) -> dict[str, str]:
        """For JSON."""
        return {"check": self.check, "level": self.level.name.lower(), "text": self.text, "remedy": self.remedy}


def well(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, text)


def warning(check: str, text: str, remedy: str) -> Finding:
    """Something may go wrong."""
    return Finding(check, Level.WARNING, text, remedy)


def failure(check: str, text: str, remedy: str) -> Finding:
    """Something goes wrong."""
    return Finding(check, Level.FAILURE, text, remedy)
