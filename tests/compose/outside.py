"""What compose promises of the containers themselves: what is published, who they run as, where secrets are."""

from tests.compose.engine import OURS, Container, Project
from tests.wait import until

HEALTH_DEADLINE = 120.0
SECRETS = "/var/lib/vedette/secrets"
PUBLISHED = {"sip-edge": {"5060/tcp", "5060/udp"}, "api": {"8080/tcp"}}
ONCE = ("secrets", "migrate")
"""Services that end after their work."""


async def until_healthy(project: Project) -> int:
    """Return when all services are healthy and what runs once has ended well; how many containers there are."""

    async def healthy() -> list[Container]:
        containers = await project.containers()
        for container in containers:
            if container.service in ONCE:
                assert container.running or container.exit_code == 0, f"{container.name} failed"
        lasting = [container for container in containers if container.service not in ONCE]
        return containers if all(container.health == "healthy" for container in lasting) else []

    containers = await until(healthy, "every container is healthy", deadline=HEALTH_DEADLINE)
    missing = {"postgres", "redis", *OURS} - {container.service for container in containers}
    assert not missing, f"compose started no {', '.join(sorted(missing))}"
    return len(containers)


async def published_ports(project: Project) -> list[str]:
    """What is published; AssertionError for more than SIP and REST, or on another address than loopback."""
    found: list[str] = []
    for container in await project.containers():
        ports = {port: bindings for port, bindings in container.facts["NetworkSettings"]["Ports"].items() if bindings}
        assert set(ports) == PUBLISHED.get(container.service, set()), f"{container.name} publishes {ports}"
        for port, bindings in ports.items():
            for binding in bindings:
                assert binding["HostIp"] == "127.0.0.1", f"{container.name}: {port} on {binding['HostIp']}"
                found.append(f"{container.service} {port}")
    return found


async def users(project: Project) -> list[str]:
    """Whom our containers run as; AssertionError for root, or one that could become it or write to its image."""
    found: set[str] = set()
    for container in await project.containers():
        if container.service not in OURS:
            continue
        user, host = str(container.facts["Config"]["User"]), container.facts["HostConfig"]
        assert user.partition(":")[0] not in {"", "0", "root"}, f"{container.name} runs as {user or 'root'}"
        assert host["CapDrop"] == ["ALL"], f"{container.name} keeps capabilities"
        assert host["ReadonlyRootfs"], f"{container.name} may write to its image"
        found.add(user)
    return sorted(found)


async def database_user(project: Project) -> str:
    """The services' user of Postgres; AssertionError where it may do more than own its database."""
    rows = await project.select(
        "SELECT rolname, rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls, "
        "pg_get_userbyid(datdba) FROM pg_roles, pg_database WHERE rolname = 'vedette' AND datname = 'vedette'"
    )
    assert rows == [["vedette", "f", "vedette"]], rows
    (others,) = await project.select(
        "SELECT count(*) FROM pg_stat_activity WHERE client_addr IS NOT NULL AND usename <> 'vedette'"
    )
    assert others == ["0"], "somebody else is connected from outside"
    return rows[0][0]


async def secrets(project: Project) -> str:
    """The secrets as all replicas have them; AssertionError where they are open to others, or anywhere else."""
    containers = [container for container in await project.containers() if container.service in OURS]
    running = [container for container in containers if container.running]
    found = {await project.docker("exec", c.id, "sh", "-c", f"cat {SECRETS}/*") for c in running}
    assert len(found) == 1, "replicas have different secrets"
    (text,) = found
    assert len(text.split()) == 2, "there should be an RPC token and a database password"
    modes = await project.docker("exec", running[0].id, "sh", "-c", f"stat -c %a {SECRETS} {SECRETS}/*")
    assert modes.split() == ["700", "600", "600"], f"modes of {SECRETS}: {modes.split()}"
    for image in sorted({str(container.facts["Image"]) for container in containers}):
        look = f"ls -A {SECRETS}; grep -rlF -f - /opt /etc /var /tmp /home /root 2>/dev/null"
        arguments = (
            "run",
            "--rm",
            "-i",
            "--user=0",
            "--network=none",
            "--entrypoint=sh",
            image,
            "-c",
            f"{look}; true",
        )
        inside = await project.docker(*arguments, given=text)
        assert not inside, f"image {image} has secrets in {inside.split()}"
        told = await project.docker("image", "inspect", image) + await project.docker("history", "--no-trunc", image)
        _knows_none_of(text, told, f"the description of image {image}")
    for container in containers:
        _knows_none_of(text, str(container.facts), f"the description of {container.name}")
        _knows_none_of(text, await project.docker("logs", container.id), f"the log of {container.name}")
    return text


def _knows_none_of(secrets: str, told: str, where: str) -> None:
    for secret in secrets.split():
        assert secret not in told, f"{where} has a secret"
