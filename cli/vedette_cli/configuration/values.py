"""The value of every parameter in force, and where it comes from."""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from vedette.runtime.parameters import PREFIX, environment_name, place, shown
from vedette.runtime.settings import ServiceSettings, given, read_settings


class BadParametersError(Exception):
    """Parameters that no service would start with; a line for each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))


@dataclass(frozen=True, slots=True)
class Value:
    """A parameter in force; passwords are masked."""

    name: str
    value: str
    source: str
    """default, environment, file or command line."""
    services: tuple[str, ...]

    def facts(self) -> dict[str, object]:
        """For JSON."""
        return {
            "parameter": self.name,
            "environment": environment_name(self.name),
            "value": self.value,
            "source": self.source,
            "services": list(self.services),
        }


def values(kinds: Mapping[str, type[ServiceSettings]], commanded: Collection[str] = ()) -> list[Value]:
    """Every parameter; `commanded` are the environment's names that a command line has set.

    A parameter that says the same in several services comes once and names them all. Raises BadParametersError.
    """
    lines: list[str] = []
    found: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for service, kind in kinds.items():
        settings = read_settings(kind)
        if isinstance(settings, list):
            lines += [line for line in settings if line not in lines]
            continue
        sources = given(kind)
        for name, field in kind.model_fields.items():
            source: str = sources.get(name, "default")
            if source == "environment" and environment_name(name) in commanded:
                source = "command line"
            key = (name, shown(field, getattr(settings, name)), source)
            found[key] = (*found.get(key, ()), service)
    if lines:
        raise BadParametersError(lines)
    return sorted((Value(*key, services) for key, services in found.items()), key=lambda value: place(value.name))


@contextmanager
def parameters_of(environment: Mapping[str, str]) -> Iterator[None]:
    """While it lasts this process has the parameters of another one's environment, and none of its own."""
    own = {name: value for name, value in os.environ.items() if name.upper().startswith(PREFIX)}
    try:
        for name in own:
            del os.environ[name]
        os.environ.update(environment)
        yield
    finally:
        for name in environment:
            os.environ.pop(name, None)
        os.environ.update(own)
