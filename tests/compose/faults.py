"""The load goes on while replicas come, go, are killed and crash: every request gets its 2xx, nothing is lost."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import cast

from tests.compose.engine import Container, Project
from tests.compose.report import Step
from tests.compose.work import replicas, until_all_work
from tests.running_set import RunningSet
from tests.system.history import violations
from tests.system.load import Load, loaded
from tests.wait import until

Act = Callable[[], Awaitable[object]]


@contextlib.asynccontextmanager
async def under_load(project: Project) -> AsyncIterator[Load]:
    """A steady load of PUBLISH and SUBSCRIBE through the published port."""
    # of a set it needs `sip` and `get` only, which a project has too
    async with loaded(cast(RunningSet, project)) as load:
        yield load


class Faults:
    """Does something to a set under load, and holds it to what its clients were promised."""

    def __init__(self, project: Project, load: Load, **replicas: int) -> None:
        """`replicas`: how many of each service there are, and will be again after each fault."""
        self._project = project
        self._load = load
        self._replicas = replicas

    async def scale(self, step: Step, **replicas: int) -> None:
        """Another number of replicas while the load goes on: each of them works within seconds."""
        self._replicas = replicas
        async with self._disturbed(step):
            await self._project.up(**replicas)
            await self._all_work(step)

    async def lose(self, step: Step, service: str, how: str) -> None:
        """`docker kill` or `docker stop` one replica that works; compose brings it back."""
        victim = await self._one_of(service)
        async with self._disturbed(step):
            await self._project.docker(how, victim.id)
            await self._load.goes_on()
            await self._project.up(**self._replicas)
            await self._all_work(step)

    async def crash(self, step: Step, service: str) -> None:
        """One replica dies by itself: the engine starts it again."""
        victim = await self._one_of(service)
        async with self._disturbed(step):
            await self._project.crash(victim)

            async def started_again() -> bool:
                found = {container.id: container for container in await self._project.containers(service)}
                return found[victim.id].restarts > victim.restarts and found[victim.id].running

            await until(started_again, f"{victim.name} is started again")
            await self._load.goes_on()
            await self._all_work(step)

    async def without(self, step: Step, service: str, *, accept: Collection[int] = ()) -> None:
        """Stop a server and start it again; statuses other than 2xx have to be among `accept`."""
        async with self._disturbed(step, accept):
            await self._project.compose("stop", service)
            if not accept:
                await self._load.goes_on()
            await self._project.compose("start", service)
            await self._load.goes_on()

    async def _all_work(self, step: Step) -> None:
        spread = await until_all_work(self._project, **self._replicas)
        step.facts["all at work after (s)"] = spread.seconds
        step.facts["at work"] = str(spread)

    async def _one_of(self, service: str) -> Container:
        hosts = set((await replicas(self._project, service)).values())
        working = [c for c in await self._project.containers(service) if c.running and c.host in hosts]
        assert working, f"no replica of {service} works"
        return working[0]

    @contextlib.asynccontextmanager
    async def _disturbed(self, step: Step, accept: Collection[int] = ()) -> AsyncIterator[None]:
        before = len(self._load.history.responses)
        yield
        await self._load.goes_on()
        answers = self._load.history.responses[before:]
        step.facts["requests"] = len(answers)
        refused = [answer for answer in answers if not 200 <= answer.status < 300]
        if accept:
            step.facts["refused"] = len(refused)
        wrong = [f"{answer.method} {answer.status}" for answer in refused if answer.status not in accept]
        assert not wrong, f"{len(wrong)} of {len(answers)} requests failed: {', '.join(sorted(set(wrong)))}"


async def converge(step: Step, load: Load) -> None:
    """End the load: every watcher has the last state, nothing acknowledged was lost, nothing came out of order."""
    stored = await load.converges()
    wrong = violations(load.history, stored)
    assert not wrong, "\n".join(wrong)
    step.facts["changes acknowledged"] = load.history.acknowledged()
    step.facts["requests"] = len(load.history.responses)
    step.facts["notifies"] = len(load.history.notifies)
