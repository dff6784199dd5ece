"""The settings classes of the services that are installed, found by entry points: nobody here imports a service."""

from importlib.metadata import entry_points

from vedette.runtime.settings import ServiceSettings

GROUP = "vedette.settings"


class NoServiceError(Exception):
    """No service is installed here; the text is for a person."""


def settings_classes() -> dict[str, type[ServiceSettings]]:
    """The settings class of each service, by its name, in the order of their names. Raises NoServiceError."""
    found: dict[str, type[ServiceSettings]] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        kind = point.load()
        if not (isinstance(kind, type) and issubclass(kind, ServiceSettings)):
            raise TypeError(f"{point.value} is no settings class")
        found[point.name] = kind
    if not found:
        raise NoServiceError("no service of Vedette is installed beside this command, so there are no parameters")
    return found
