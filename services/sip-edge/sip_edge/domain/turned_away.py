"""What was turned away, and why: the counters of one process."""

from dataclasses import dataclass


@dataclass(slots=True)
class TurnedAway:
    """Plain numbers that only grow."""

    rate_refused: int = 0
    """Messages over max_requests_per_second that were answered with 503."""
    rate_dropped: int = 0
    """Those that were not answered."""
    rate_connections: int = 0
    """Connections that their source opened beyond max_requests_per_second, closed at once."""
    banned_messages: int = 0
    """Messages of banned sources, dropped unread."""
    banned_connections: int = 0
    """Connections of banned sources, refused or cut."""
    bans: int = 0
    """Sources that this process has banned."""
    locks: int = 0
    """Users that it has locked for a source."""
    locked: int = 0
    """Requests of a user from a source that he is locked for."""
    wrong_passwords: int = 0
    """Credentials that were not right: of a user, or of nobody."""
    garbage: int = 0
    """Messages that nobody could read."""
    waiting_refused_new: int = 0
    """Requests that would have waited too long: those that begin something."""
    waiting_refused_ongoing: int = 0
    """Those that carry something on."""
    unanswerable: int = 0
    """Requests beyond max_ongoing."""

    def as_dict(self) -> dict[str, int]:
        """By name, without those that are 0."""
        return {name: count for name in self.__slots__ if (count := getattr(self, name))}
