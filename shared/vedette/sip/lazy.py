"""A value that is computed when it is first read."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

Owner = TypeVar("Owner")
Value = TypeVar("Value")


class lazy(Generic[Owner, Value]):  # noqa: N801 - used like a keyword, as property is
    """`functools.cached_property` without the lock that it takes at each first read (until Python 3.12).

    An error is not kept: the next read computes again.
    """

    def __init__(self, compute: Callable[[Owner], Value]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, owner: None, kind: type[Any]) -> "lazy[Owner, Value]": ...
    @overload
    def __get__(self, owner: Owner, kind: type[Any]) -> Value: ...
    def __get__(self, owner: Owner | None, kind: type[Any]) -> "lazy[Owner, Value] | Value":
        """The value; from now on it is in the instance's dictionary, where Python looks first."""
        if owner is None:
            return self
        value = owner.__dict__[self._name] = self._compute(owner)
        return value
