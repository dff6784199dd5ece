"""The Docker engine of this machine, and one compose project on it with a name and ports of its own."""

import asyncio
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
BUILD_ON_HOST_NETWORK = Path("deploy") / "build-on-host-network.yml"
OURS = ("secrets", "migrate", "presence-core", "notifier", "sip-edge", "api")
"""The services whose images are built here."""
PATIENCE = 240.0
BUILD_PATIENCE = 1800.0


class EngineError(Exception):
    """The engine, or a command to it, failed; the text is for a person."""


async def run(*command: str, environment: dict[str, str], given: str = "", within: float = PATIENCE) -> str:
    """What the command says; EngineError with its last words where it fails."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=environment,
    )
    said = " ".join(command)
    try:
        output, errors = await asyncio.wait_for(process.communicate(given.encode()), within)
    except TimeoutError:
        raise EngineError(f"`{said}` did not end within {within:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        lines = (errors.decode(errors="replace") or output.decode(errors="replace")).strip().splitlines()
        raise EngineError(f"`{said}` failed: {' / '.join(lines[-3:])}")
    return output.decode(errors="replace")


async def find_compose() -> list[str]:
    """The compose program of a machine whose engine answers; EngineError, with what is missing, elsewhere."""
    environment = dict(os.environ)
    if shutil.which("docker") is None:
        raise EngineError("there is no Docker on this machine, and compose-test needs its engine")
    try:
        await run("docker", "info", environment=environment, within=30)
    except EngineError as error:
        raise EngineError(f"the Docker engine does not answer: {error}") from None
    for program in (["docker-compose"], ["docker", "compose"]):
        try:
            await run(*program, "version", environment=environment, within=30)
        except (EngineError, OSError):
            continue
        return program
    raise EngineError("there is neither `docker-compose` nor `docker compose` on this machine")


@dataclass(frozen=True)
class Container:
    """What the engine says of a container."""

    id: str
    name: str
    service: str
    facts: dict[str, Any]

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return bool(self.facts["State"]["Running"])

    @property
    def health(self) -> str:
        """`healthy`, `starting`, `unhealthy`; empty where it has no check."""
        return str(self.facts["State"].get("Health", {}).get("Status", ""))

    @property
    def exit_code(self) -> int:
        """Of its last process."""
        return int(self.facts["State"]["ExitCode"])

    @property
    def pid(self) -> int:
        """Of its process, as the engine's machine counts."""
        return int(self.facts["State"]["Pid"])

    @property
    def restarts(self) -> int:
        """How often the engine has started it again by itself."""
        return int(self.facts["RestartCount"])

    @property
    def host(self) -> str:
        """The host name inside."""
        return str(self.facts["Config"]["Hostname"])


class Project:
    """The set in containers, as a load needs it (`sip` and `get`), and the commands to it."""

    def __init__(self, compose: Sequence[str], name: str) -> None:
        self.name = name
        self.sip = ("127.0.0.1", free_port())
        self.api = f"http://127.0.0.1:{(api_port := free_port())}"
        self._compose = list(compose)
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("VEDETTE_", "SIP_", "API_", "COMPOSE_"))
        }
        self._environment = kept | {
            "COMPOSE_PROJECT_NAME": name,
            "SIP_PORT": str(self.sip[1]),
            "SIP_ADVERTISE": self.sip_address,
            "API_PORT": str(api_port),
        }

    @property
    def sip_address(self) -> str:
        """host:port of the published SIP port."""
        return f"{self.sip[0]}:{self.sip[1]}"

    # commands

    async def compose(self, *arguments: str, within: float = PATIENCE) -> str:
        """What `docker-compose ARGUMENTS` says."""
        return await run(*self._compose, *arguments, environment=self._environment, within=within)

    async def docker(self, *arguments: str, given: str = "") -> str:
        """What `docker ARGUMENTS` says."""
        return await run("docker", *arguments, environment=self._environment, given=given)

    async def build(self, network: str) -> str:
        """Build the images; on which network the packages were found.

        `network`: `default` as an operator builds, `host` with the override file, `auto` the second where the first
        finds nothing.
        """
        if network != "host":
            try:
                await self.compose("build", within=BUILD_PATIENCE)
            except EngineError:
                if network == "default":
                    raise
            else:
                return "default"
        files = ("-f", "docker-compose.yml", "-f", str(BUILD_ON_HOST_NETWORK))
        await self.compose(*files, "build", within=BUILD_PATIENCE)
        return "host"

    async def up(self, **replicas: int) -> None:
        """`docker-compose up -d --scale ...`; services by their names with `_` for `-`."""
        scales = [f"{name.replace('_', '-')}={count}" for name, count in replicas.items()]
        await self.compose("up", "-d", *(word for scale in scales for word in ("--scale", scale)))

    async def down(self, *arguments: str) -> None:
        """Remove the containers; with `-v` the volumes too."""
        await self.compose("down", "--remove-orphans", *arguments)

    async def containers(self, service: str | None = None) -> list[Container]:
        """The containers of the project, or of one service of it, those that ended too."""
        filters = ["--filter", f"label=com.docker.compose.project={self.name}"]
        if service is not None:
            filters += ["--filter", f"label=com.docker.compose.service={service}"]
        ids = (await self.docker("ps", "--all", "--quiet", "--no-trunc", *filters)).split()
        if not ids:
            return []
        found = [
            Container(facts["Id"], facts["Name"].lstrip("/"), labels["com.docker.compose.service"], facts)
            for facts in json.loads(await self.docker("inspect", *ids))
            if (labels := facts["Config"]["Labels"])
        ]
        return sorted(found, key=lambda container: container.name)

    async def crash(self, container: Container) -> None:
        """Kill the process behind the engine's back, as the kernel does where memory ends."""
        kill = f"import os, signal; os.kill({container.pid}, signal.SIGKILL)"
        image = str(container.facts["Image"])
        await self.docker("run", "--rm", "--pid=host", "--user=0", "--entrypoint=python", image, "-c", kill)

    async def select(self, sql: str) -> list[list[str]]:
        """The rows that Postgres answers."""
        (postgres,) = await self.containers("postgres")
        psql = ("psql", "--username=vedette", "--no-align", "--tuples-only", "--field-separator=\t")
        output = await self.docker("exec", "-i", postgres.id, *psql, given=sql)
        return [line.split("\t") for line in output.splitlines() if line]

    async def get(self, path: str, **query: str) -> Any:
        """What GET on the REST API returns, whatever its status code."""
        async with aiohttp.ClientSession() as session, session.get(self.api + path, params=query) as response:
            return await response.json()
