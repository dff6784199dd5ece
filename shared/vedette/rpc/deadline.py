"""Until when the caller of the RPC call being served waits for its answer."""

import asyncio
import math
from contextvars import ContextVar

_deadline: ContextVar[float] = ContextVar("rpc_deadline", default=math.inf)


def set_deadline(milliseconds: str | None) -> None:
    """The caller waits so long from now, as its header says; for ever where that is absent or no number."""
    known = milliseconds is not None and milliseconds.isascii() and milliseconds.isdigit() and len(milliseconds) < 10
    _deadline.set(asyncio.get_running_loop().time() + int(milliseconds or 0) / 1000 if known else math.inf)


def deadline() -> float:
    """On the clock of the loop, in seconds; infinity outside of a call. What is done later is done for nobody."""
    return _deadline.get()
