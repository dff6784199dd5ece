"""SUBSCRIBEs that wait for their 2xx, and the NOTIFYs that must not overtake it."""

from collections.abc import Callable

DialogName = tuple[str, str]
"""Call-ID and the watcher's tag."""


class OpenSubscribes:
    """While a SUBSCRIBE of a dialog is open here, whatever is held for that dialog waits."""

    def __init__(self) -> None:
        self._open: dict[DialogName, int] = {}
        self._held: dict[DialogName, list[Callable[[], None]]] = {}

    def opened(self, dialog: DialogName) -> None:
        """A SUBSCRIBE has come."""
        self._open[dialog] = self._open.get(dialog, 0) + 1

    def closed(self, dialog: DialogName) -> None:
        """Its final response has been written: let go what was held."""
        left = self._open[dialog] - 1
        if left:
            self._open[dialog] = left
            return
        del self._open[dialog]
        for release in self._held.pop(dialog, ()):
            release()

    def hold(self, dialog: DialogName, release: Callable[[], None]) -> bool:
        """Whether `release` was kept for later; False where no SUBSCRIBE of the dialog is open."""
        if dialog not in self._open:
            return False
        self._held.setdefault(dialog, []).append(release)
        return True
