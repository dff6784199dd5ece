"""The event packages that are served."""

from pydantic import BaseModel, Field

from presence_core.adapters.rest.operations import Operations
from presence_core.adapters.rest.parts import Parts
from vedette.events.package import WatcherInfoPackage
from vedette.events.registry import PACKAGES
from vedette.store.api_tokens import Role


class EventPackageView(BaseModel):
    """An event package."""

    name: str
    publish_types: list[str] = Field(description="Media types that can be published; none: nobody publishes for it.")
    notify_types: list[str] = Field(description="Media types that watchers can ask for, the default first.")
    default_expires: int = Field(description="Seconds, where a request names none.")
    watchers_of: str | None = Field(description="The package whose watchers it shows.")


class EventPackageList(BaseModel):
    """All of them."""

    items: list[EventPackageView]


_EXAMPLE = {
    "name": "presence",
    "publish_types": ["application/pidf+xml"],
    "notify_types": ["application/pidf+xml", "application/xpidf+xml"],
    "default_expires": 3600,
    "watchers_of": None,
}


def add_event_packages(operations: Operations, _parts: Parts) -> None:
    """Add the operation."""

    @operations.add("GET", "/event-packages", tag="system", role=Role.READER, example={"items": [_EXAMPLE]})
    async def list_event_packages() -> EventPackageList:
        """List the event packages that are served."""
        return EventPackageList(
            items=[
                EventPackageView(
                    name=package.name,
                    publish_types=list(package.publish_types),
                    notify_types=list(package.notify_types),
                    default_expires=package.default_expires,
                    watchers_of=package.base if isinstance(package, WatcherInfoPackage) else None,
                )
                for package in PACKAGES.values()
            ]
        )
