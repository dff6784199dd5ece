"""`vedette doctor`: what is wrong, or may go wrong, and what to do."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import typer
from rich.text import Text

from vedette import VERSION
from vedette.runtime.parameters import PREFIX
from vedette.runtime.settings import StoreSettings, read_settings
from vedette.store.migrations import Migration, MigrationError, load
from vedette_cli.commands.in_database import DatabaseOption
from vedette_cli.commands.listing import console, plain
from vedette_cli.commands.migrate import migrations_folder
from vedette_cli.commands.options import DataOption, JsonOption
from vedette_cli.commands.rest_command import ApiOption, TokenFileOption, find_token
from vedette_cli.commands.terminal import say
from vedette_cli.doctor.clocks import check_clocks, clocks_of_replicas
from vedette_cli.doctor.database import CONNECT_PATIENCE, check_database
from vedette_cli.doctor.disk import check_disk
from vedette_cli.doctor.finding import Finding, Level, failure, warning, well
from vedette_cli.doctor.network import (
    PORTS,
    check_certificates,
    check_name_servers,
    check_names,
    check_replica_ports,
    check_sip_ports,
    places,
    split_places,
    system_name_servers,
)
from vedette_cli.doctor.redis_server import ask_redis, check_redis
from vedette_cli.doctor.system import Parameters, check_parameters, check_queues, check_replicas
from vedette_cli.rest.client import RestClient, RestError
from vedette_cli.supervisor.control import NotRunningError, StillAtWorkError, ask

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILURE: "bold red"}


@dataclass
class _Facts:
    """What is known of the system before it is judged."""

    api: str | None = None
    db_url: str | None = None
    redis_url: str | None = None
    replicas: list[Mapping[str, Any]] = field(default_factory=list)
    parameters: Parameters = field(default_factory=lambda: Parameters([]))
    clocks: dict[str, float] = field(default_factory=dict)

    @property
    def keeps_dialogs(self) -> bool:
        """Whether Redis has the dialogs."""
        return self.parameters.value("fallback2db") == "0"


def doctor(
    data: DataOption = Path(".vedette"),
    api: ApiOption = None,
    token_file: TokenFileOption = None,
    database_url: DatabaseOption = None,
    redis_url: Annotated[str | None, typer.Option(help="This Redis, where no set runs on --data.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Look for what is wrong or may go wrong, and say what to do.

    Exit code 2: something is wrong; 1: something may go wrong, or could not be looked at; 0: neither.
    """
    facts, found = _places(data, api, database_url, redis_url)
    found += _ask_rest(facts, token_file)
    found += asyncio.run(_ask_stores(facts))
    facts.clocks |= clocks_of_replicas(facts.replicas)
    found += check_clocks(facts.clocks)
    found += _look_at_network(facts)
    if data.is_dir():
        found += check_disk(data)
    _show(found, as_json=as_json)
    raise typer.Exit(max((finding.level for finding in found), default=Level.OK))


def _places(
    data: Path, api: str | None, database_url: str | None, redis_url: str | None
) -> tuple[_Facts, list[Finding]]:
    """Where everything is: as the options say, else as the set that runs says, else as the parameters say."""
    facts = _Facts(api, database_url, redis_url)
    if None not in {api, database_url, redis_url}:
        return facts, []
    try:
        stores = ask(data, {"command": "stores"})
        facts.db_url = database_url or stores["db_url"]
        facts.redis_url = redis_url or stores["redis_url"]
        facts.api = api or ask(data, {"command": "api"}).get("api")
    except (NotRunningError, KeyError) as error:
        remark = str(error) if isinstance(error, NotRunningError) else "the set does not say where its stores are"
    except StillAtWorkError as error:
        return facts, [failure("set", str(error), "See vedette status and the logs.")]
    else:
        return facts, [well("set", f"a set runs on {data}")]
    settings = read_settings(StoreSettings) if _names_stores() else None
    if isinstance(settings, StoreSettings):
        try:
            facts.db_url = database_url or settings.database_url()
        except OSError as error:
            return facts, [
                failure("set", f"VEDETTE_DB_PASSWORD_FILE: {error.strerror}", "Name a file that can be read.")
            ]
        facts.redis_url = redis_url or settings.redis_url
    if facts.api is None and facts.db_url is None:
        return facts, [
            failure("set", remark, "Name a set with --data, or its parts: --api, --database-url, --redis-url.")
        ]
    return facts, []


def _names_stores() -> bool:
    return f"{PREFIX}DB_URL" in os.environ or f"{PREFIX}CONFIG" in os.environ


def _ask_rest(facts: _Facts, token_file: Path | None) -> list[Finding]:
    if facts.api is None:
        return [warning("rest", "REST was not asked", "Name it with --api, and a token in VEDETTE_TOKEN.")]
    try:
        with RestClient(facts.api, find_token(token_file)) as client:
            facts.replicas = client.get("replicas")["items"]
            settings = client.get("settings")
            queues = client.get("queues")
    except (RestError, ValueError) as error:
        return [failure("rest", str(error), "Is the api up, and is the address right? See vedette status.")]
    facts.parameters = Parameters(settings["items"])
    return [
        well("rest", f"{facts.api} answers"),
        *check_replicas(facts.replicas, VERSION),
        *check_queues(queues),
        *check_parameters(facts.parameters, settings["silent"]),
    ]


async def _ask_stores(facts: _Facts) -> list[Finding]:
    found: list[Finding] = []
    if facts.db_url is None:
        found.append(warning("database", "Postgres was not looked at", "Name it with --database-url."))
    else:
        found += await _ask_database(facts, facts.db_url)
    if facts.redis_url is None:
        found.append(warning("redis", "Redis was not looked at", "Name it with --redis-url."))
    else:
        answer = await ask_redis(facts.redis_url)
        if not isinstance(answer, str):
            facts.clocks["Redis"] = answer[1] - time.time()
        memory = answer if isinstance(answer, str) else answer[0]
        found += check_redis(memory, keeps_dialogs=facts.keeps_dialogs)
    return found


async def _ask_database(facts: _Facts, url: str) -> list[Finding]:
    found: list[Finding] = []
    migrations: list[Migration] = []
    try:
        migrations = load(migrations_folder())
    except (MigrationError, OSError) as error:
        found.append(warning("schema", str(error), "Without them it is not known which indexes there have to be."))
    pools = {name: int(value) for name, value in facts.parameters.by_instance("db_connections").items()}
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_PATIENCE)
        try:
            moment = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
            facts.clocks["Postgres"] = moment - time.time()
            return found + await check_database(connection, migrations, pools)
        finally:
            await connection.close()
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        text = f"Postgres: {str(error) or type(error).__name__}"
        return [*found, failure("database", text, "Nothing works without it: start it, or correct VEDETTE_DB_URL.")]


def _look_at_network(facts: _Facts) -> list[Finding]:
    if not facts.replicas:
        return []
    parameters = facts.parameters
    by_transport = {transport: places(parameters, transport) for transport in ("sip", *PORTS)}
    servers = split_places(",".join(parameters.values("dns_servers"))) or system_name_servers()
    return [
        *check_names([host for wanted in by_transport.values() for host, _ in wanted]),
        *check_name_servers(servers),
        *check_replica_ports(facts.replicas),
        *check_sip_ports(by_transport),
        *check_certificates([*by_transport["tls"], *by_transport["wss"]]),
    ]


def _show(found: list[Finding], *, as_json: bool) -> None:
    if as_json:
        for finding in found:
            if not say(json.dumps(finding.facts())):
                return
        return
    screen = console(sys.stdout.isatty())
    for finding in found:
        line = Text.assemble(
            (f"{finding.level.name.lower():8}", _STYLES[finding.level]), f"{finding.check:13}", plain(finding.text)
        )
        screen.print(line, soft_wrap=True)
        if finding.remedy:
            screen.print(Text(f"{'':21}{plain(finding.remedy)}"), soft_wrap=True)
    counts = {level: sum(finding.level is level for finding in found) for level in Level}
    screen.print(f"{counts[Level.FAILURE]} failures, {counts[Level.WARNING]} warnings, {counts[Level.OK]} well")
