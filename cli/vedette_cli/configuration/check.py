"""Whether the environment and the file can be started with, without starting anything."""

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from vedette.runtime.parameters import PREFIX, REPLACED, environment_name, remarks
from vedette.runtime.settings import ServiceSettings, read_settings
from vedette_cli.configuration.file import names_in_file

NO_PARAMETERS = frozenset(
    {"api", "config", "full", "migrations", "password", "shared", "token", "token_file", "vectors"}
)
"""Names of ours in the environment that are no parameters of a service."""


@dataclass(slots=True)
class Findings:
    """What was found, a line for each."""

    bad: list[str] = field(default_factory=list)
    """Values that stop the start."""
    unknown: list[str] = field(default_factory=list)
    """Names that nobody reads."""
    remarks: list[str] = field(default_factory=list)
    """Parameters that were set and have no effect."""


def check(kinds: Mapping[str, type[ServiceSettings]]) -> Findings:
    """What the services would say of the environment and the file."""
    findings = Findings()
    for kind in kinds.values():
        settings = read_settings(kind)
        if isinstance(settings, list):
            findings.bad += [line for line in settings if line not in findings.bad]
            continue
        for name, reason in remarks(settings):
            line = f"{environment_name(name)} has no effect. {reason}"
            if line not in findings.remarks:
                findings.remarks.append(line)
    findings.unknown = unknown({name for kind in kinds.values() for name in kind.model_fields})
    return findings


def unknown(known: set[str]) -> list[str]:
    """A line for each name in the environment and in the file that is not among the known ones.

    A file that cannot be read has none: that is told with the bad values.
    """
    lines: list[str] = []
    for name in sorted(os.environ):
        bare = name[len(PREFIX) :].lower()
        if name.upper().startswith(PREFIX) and bare not in known | NO_PARAMETERS:
            lines.append(f"{name} {_nobody_reads(bare, known, environment_name)}")
    lines += [
        f"{name} in {os.environ[f'{PREFIX}CONFIG']} {_nobody_reads(name.lower(), known, str)}"
        for name in names_in_file()
        if name not in known
    ]
    return lines


def _nobody_reads(name: str, known: Iterable[str], written: Callable[[str], str]) -> str:
    if name in REPLACED:
        return f"is no parameter of Vedette. {REPLACED[name]}"
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"is no parameter.{f' Is it {written(nearest[0])}?' if nearest else ''}"
