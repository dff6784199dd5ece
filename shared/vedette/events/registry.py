"""The table of event packages this server knows."""

from collections.abc import Mapping
from types import MappingProxyType

from vedette.events.message_summary import MESSAGE_SUMMARY
from vedette.events.package import EventPackage
from vedette.events.presence import PRESENCE
from vedette.events.winfo import winfo_of

_PACKAGES: tuple[EventPackage, ...] = (MESSAGE_SUMMARY, PRESENCE)
_TEMPLATES = tuple(winfo_of(package) for package in _PACKAGES)

PACKAGES: Mapping[str, EventPackage] = MappingProxyType(
    {package.name: package for package in (*_PACKAGES, *_TEMPLATES)}
)

ALLOW_EVENTS = ", ".join(sorted(package.name for package in _PACKAGES))
"""The value of Allow-Events: no template packages (RFC 6665 section 4.4.4)."""
