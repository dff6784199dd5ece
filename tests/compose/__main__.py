"""`python -m tests.compose`: docker-compose up, call, scale, kill and restart, all through the published port."""

import argparse
import asyncio
import contextlib
import sys

import aiohttp

from tests.compose import outside
from tests.compose.calls import TRANSPORTS, Kept, every_exchange
from tests.compose.engine import EngineError, Project, find_compose
from tests.compose.faults import Faults, converge, under_load
from tests.compose.report import Report
from tests.compose.work import until_all_work

LOG_LINES = "40"
SCALED = {"presence_core": 3, "notifier": 2}


async def show_all(project: Project, report: Report, *, network: str) -> None:
    """Every step, in order. Raises AssertionError or EngineError at the first that fails."""
    with report.step("docker-compose config is valid; the images are built") as step:
        await project.compose("config", "--quiet")
        step.facts["packages over network"] = await project.build(network)
    with report.step("docker-compose up -d: every container becomes healthy") as step:
        await project.up()
        step.facts["containers"] = await outside.until_healthy(project)
    with report.step("only SIP and REST are published, on loopback; no root, no capabilities") as step:
        step.facts["published"] = ", ".join(await outside.published_ports(project))
        step.facts["user"] = ", ".join(await outside.users(project))
    with report.step("the services' user of Postgres owns its database and is no superuser") as step:
        step.facts["user"] = await outside.database_user(project)
    with report.step("secrets are equal everywhere, closed to others, in no image, description or log"):
        secrets = await outside.secrets(project)
    for transport in TRANSPORTS:
        with report.step(f"publish, watch, change, refresh, remove, unsubscribe over {transport.upper()}") as step:
            step.facts["requests"] = await every_exchange(project, transport)
    await show_scaling_and_faults(project, report)
    kept = [Kept(project, transport) for transport in TRANSPORTS]
    for how, replicas in (("restart", {}), ("down", SCALED)):
        scaled = " --scale presence-core=3 --scale notifier=2" if replicas else ""
        with report.step(f"docker-compose {how}, up -d{scaled}: what was published and watched goes on") as step:
            for each in kept:
                await each.begin()
            await project.compose(how)
            await project.up(**replicas)
            step.facts["containers"] = await outside.until_healthy(project)
            for each in kept:
                await each.go_on()
                await each.end()
    with report.step("the secrets have outlived all that"):
        assert await outside.secrets(project) == secrets, "the secrets have changed"


async def show_scaling_and_faults(project: Project, report: Report) -> None:
    """What happens under load."""
    async with under_load(project) as load:
        with report.step("a load has started: the one core and the one notifier work") as step:
            step.facts["at work"] = str(await until_all_work(project, presence_core=1, notifier=1))
        faults = Faults(project, load)
        with report.step("--scale presence-core=3 --scale notifier=2 under load: all of them work") as step:
            await faults.scale(step, **SCALED)
        for how in ("kill", "stop"):
            for service in ("presence-core", "notifier"):
                with report.step(f"docker {how} of one {service} under load fails no request") as step:
                    await faults.lose(step, service, how)
        for service in ("presence-core", "notifier"):
            with report.step(f"a {service} that crashes under load is started again and fails no request") as step:
                await faults.crash(step, service)
        with report.step("Redis stopped and started under load fails no request") as step:
            await faults.without(step, "redis")
        with report.step("Postgres stopped and started under load: refused at most (503), nothing lost") as step:
            await faults.without(step, "postgres", accept={503})
        with report.step("--scale presence-core=1 --scale notifier=1 under load fails no request") as step:
            await faults.scale(step, presence_core=1, notifier=1)
        with report.step("the load ends: every watcher has the last state, nothing was lost or out of order") as step:
            await converge(step, load)


async def run(arguments: argparse.Namespace) -> int:
    """Show everything on a project of its own, which is removed at the end; the exit code."""
    report = Report(as_json=arguments.json)
    try:
        compose = await find_compose()
    except EngineError as error:
        return report.end(str(error))
    project = Project(compose, arguments.project)
    report.say(f"project {project.name}: SIP on {project.sip_address}, REST on {project.api}")
    problem: str | None = None
    try:
        await project.down("-v")
        await show_all(project, report, network=arguments.build_network)
    except (AssertionError, EngineError, OSError, aiohttp.ClientError) as error:
        where = report.steps[-1].name if report.steps else "cleaning up"
        problem = f"{where}: {str(error) or 'an answer or a NOTIFY did not come in time'}"
        with contextlib.suppress(EngineError):
            report.say(await project.compose("logs", "--no-color", "--tail", LOG_LINES))
    finally:
        if arguments.keep:
            report.say(f"kept: COMPOSE_PROJECT_NAME={project.name} docker-compose ps")
        else:
            try:
                await project.down("-v", "--rmi", "local")
            except EngineError as error:
                problem = problem or f"cleaning up: {error}"
    return report.end(problem)


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.compose", description=__doc__)
    parser.add_argument("--json", action="store_true", help="the result as JSON on stdout, the progress on stderr")
    parser.add_argument("--keep", action="store_true", help="leave the containers, volumes and images at the end")
    parser.add_argument("--project", default="vedette-compose-test", help="the name of the compose project")
    parser.add_argument(
        "--build-network",
        choices=("auto", "default", "host"),
        default="auto",
        help="how builds reach the packages; auto: as an operator's would, else over the network of the host",
    )
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
