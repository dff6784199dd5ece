"""A child that is told to end ends, whenever it does so."""

import asyncio

from vedette_cli.supervisor.child import stop


class EndsLate:
    """A process whose end comes when its time is over, so that the kernel knows nobody to kill any more."""

    def __init__(self) -> None:
        self.returncode: int | None = None
        self.asked: list[int] = []
        self._ended = asyncio.Event()

    async def wait(self) -> int:
        await self._ended.wait()
        return 0

    def send_signal(self, number: int, /) -> None:
        self.asked.append(number)

    def kill(self) -> None:
        self._ended.set()
        raise ProcessLookupError


async def test_one_that_ends_at_the_last_moment_is_not_missed() -> None:
    process = EndsLate()
    await stop(process, number=15, patience=0.0)
    assert process.asked == [15]
