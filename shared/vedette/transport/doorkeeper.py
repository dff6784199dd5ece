"""Who may come in: asked before anything that has come is read."""

from typing import Protocol

from vedette.sip.flow import Flow


class Doorkeeper(Protocol):
    """Judges by the source alone."""

    @property
    def watches(self) -> bool:
        """Whether there is anybody to keep out; where not, `lets_in` and `admits` need not be asked."""

    def lets_in(self, data: bytes, flow: Flow) -> bool:
        """Whether a message from there is to be read."""

    def admits(self, host: str) -> bool:
        """Whether a connection from there may be opened."""

    def unreadable(self, flow: Flow) -> None:
        """What has come from there is nothing that could be read."""
