"""The table of event packages this server knows."""

from collections.abc import Mapping
from types import MappingProxyType

from vedette.events.dialog import DIALOG
from vedette.events.dialog_sla import DIALOG_SLA
from vedette.events.message_summary import MESSAGE_SUMMARY
from vedette.events.package import EventPackage
from vedette.events.presence import PRESENCE
from vedette.events.winfo import winfo_of
from vedette.sip.event_header import EventHeader

_PACKAGES: tuple[EventPackage, ...] = (DIALOG, MESSAGE_SUMMARY, PRESENCE)
_VARIANTS: tuple[EventPackage, ...] = (DIALOG_SLA,)
"""What a parameter of the Event header makes another package; the name has it behind a semicolon."""
_TEMPLATES = tuple(winfo_of(package) for package in _PACKAGES)
_WATCHERS_OF_WATCHERS = tuple(winfo_of(template) for template in _TEMPLATES)
"""The template applied to itself (RFC 3857 section 4.6), once: nobody may watch deeper."""

PACKAGES: Mapping[str, EventPackage] = MappingProxyType(
    {package.name: package for package in (*_PACKAGES, *_VARIANTS, *_TEMPLATES, *_WATCHERS_OF_WATCHERS)}
)

ALLOW_EVENTS = ", ".join(sorted(package.name for package in _PACKAGES))
"""The value of Allow-Events: no template packages (RFC 6665 section 4.4.4), and names only."""


def package_of(event: EventHeader) -> EventPackage | None:
    """The package that an Event header means, None where it is not served."""
    for name, _ in event.parameters:
        variant = PACKAGES.get(f"{event.package};{name}")
        if variant is not None:
            return variant
    return PACKAGES.get(event.package)
