"""The table of event packages this server knows."""

from collections.abc import Mapping
from types import MappingProxyType

from vedette.events.package import EventPackage
from vedette.events.presence import PRESENCE

PACKAGES: Mapping[str, EventPackage] = MappingProxyType({package.name: package for package in (PRESENCE,)})

ALLOW_EVENTS = ", ".join(sorted(name for name in PACKAGES if not name.endswith(".winfo")))
"""The value of Allow-Events: no template packages (RFC 6665 section 4.4.4)."""
