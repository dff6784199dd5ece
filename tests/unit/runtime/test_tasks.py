"""Background tasks: a failure is logged and never silent; an end leaves nothing unawaited."""

import asyncio

from structlog.testing import capture_logs

from vedette.runtime.process import Tasks


async def test_a_task_that_runs_once_and_fails_is_logged_with_its_name() -> None:
    async def fails() -> None:
        raise ValueError("broken")

    tasks = Tasks()
    with capture_logs() as logs:
        tasks.once(fails(), "unlucky")
        async with asyncio.timeout(5):
            while not logs:
                await asyncio.sleep(0)
    assert [(entry["event"], entry["task"], str(entry["exc_info"])) for entry in logs] == [
        ("task failed", "unlucky", "broken")
    ]


async def test_a_kept_task_that_fails_is_logged_and_run_again() -> None:
    runs = asyncio.Queue[int]()

    async def fails() -> None:
        runs.put_nowait(1)
        raise ValueError("broken")

    tasks = Tasks()
    with capture_logs() as logs:
        tasks.keep("unlucky", fails)
        async with asyncio.timeout(10):
            await runs.get()
            await runs.get()
    await tasks.cancel()
    assert logs[0]["task"] == "unlucky"


async def test_tasks_that_are_cancelled_before_their_first_step_leave_no_coroutine_unawaited() -> None:
    started = False

    async def starts() -> None:
        nonlocal started
        started = True

    tasks = Tasks()
    tasks.once(starts(), "late")
    tasks.keep("late", starts)
    await tasks.cancel()
    assert not started
