"""A bounded dictionary that forgets what was used least recently."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """At most `limit` entries, which together weigh `max_weight` at most."""

    def __init__(
        self, limit: int, *, max_weight: int = 0, weigh: Callable[[Key, Value], int] = lambda _key, _value: 0
    ) -> None:
        self._limit = limit
        self._max_weight = max_weight
        self._weigh = weigh
        self._entries: OrderedDict[Key, Value] = OrderedDict()
        self.weight = 0
        """Of all entries."""

    def get(self, key: Key) -> Value | None:
        """The value, None where it is not (or no longer) there."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Remember a value; not one that is too heavy by itself."""
        if key in self._entries:
            self.weight -= self._weigh(key, self._entries.pop(key))
        weight = self._weigh(key, value)
        if weight > self._max_weight:
            return
        self._entries[key] = value
        self.weight += weight
        while len(self._entries) > self._limit or self.weight > self._max_weight:
            self.weight -= self._weigh(*self._entries.popitem(last=False))

    def forget(self, key: Key) -> None:
        """Remember it no longer, if it is there."""
        if key in self._entries:
            self.weight -= self._weigh(key, self._entries.pop(key))

    def __len__(self) -> int:
        return len(self._entries)
