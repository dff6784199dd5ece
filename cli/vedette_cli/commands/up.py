"""`vedette up`: run the whole set on this machine."""

import asyncio
from pathlib import Path
from typing import Annotated, Literal

import typer

from vedette_cli.commands.options import DataOption
from vedette_cli.commands.terminal import fail
from vedette_cli.configuration.check import unknown
from vedette_cli.configuration.services import NoServiceError, settings_classes
from vedette_cli.supervisor.folders import SetupError
from vedette_cli.supervisor.options import MOST_PROCESSES, UpOptions
from vedette_cli.supervisor.supervisor import Supervisor


def up(
    host: Annotated[
        str, typer.Option(help="IP address that SIP is listened on, or an IPv4 and an IPv6 one with a comma.")
    ] = "127.0.0.1",
    sip_port: Annotated[int, typer.Option(min=0, max=65535, help="Port for SIP, UDP and TCP; 0: any.")] = 5060,
    tls_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port for SIP over TLS; 0: any. Without it no TLS.")
    ] = None,
    ws_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port for SIP over WebSocket; 0: any. Without it none.")
    ] = None,
    wss_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port for WebSocket over TLS; 0: any. Without it none.")
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="Certificate (PEM) for TLS; without it the set makes one, to try TLS with.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="Its key (PEM); without it, in the file of the certificate.")
    ] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="Authorities (PEM) whose certificates clients have to show.")
    ] = None,
    api_port: Annotated[int, typer.Option(min=0, max=65535, help="Port for REST, on loopback; 0: any.")] = 8080,
    edges: Annotated[int, typer.Option(min=1, max=MOST_PROCESSES, help="SIP edges; they share the port.")] = 1,
    cores: Annotated[int, typer.Option(min=1, max=MOST_PROCESSES, help="presence-core replicas.")] = 2,
    notifiers: Annotated[int, typer.Option(min=1, max=MOST_PROCESSES, help="Notifiers.")] = 1,
    data: DataOption = Path(".vedette"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Start with an empty database.")] = False,
    database_url: Annotated[
        str | None, typer.Option(help="Use this Postgres (15 or newer) instead of the embedded one.")
    ] = None,
    redis_url: Annotated[str | None, typer.Option(help="Use this Redis instead of the embedded one.")] = None,
    auth: Annotated[
        Literal["none", "digest", "trusted"] | None,
        typer.Option(
            help="Who may publish and watch: everybody, users (vedette user), or trusted_peers only. "
            "Without it VEDETTE_AUTH, else none on this machine alone and digest where others reach it."
        ),
    ] = None,
    api_auth: Annotated[
        Literal["none", "token"] | None,
        typer.Option(
            help="Who may use REST: everybody on this machine, or tokens (vedette token). "
            "Without it VEDETTE_API_AUTH, else none."
        ),
    ] = None,
    advertise: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="The address that clients reach the edge by; one for each IP version."
        ),
    ] = None,
) -> None:
    """Run the whole set on this machine: Postgres, Redis, edge, cores, api, notifier."""
    options = UpOptions(
        host=host,
        sip_port=sip_port,
        tls_port=tls_port,
        ws_port=ws_port,
        wss_port=wss_port,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_client_ca=tls_client_ca,
        api_port=api_port,
        edges=edges,
        cores=cores,
        notifiers=notifiers,
        data=data,
        fresh=fresh,
        database_url=database_url,
        redis_url=redis_url,
        auth=auth,
        api_auth=api_auth,
        advertise=advertise,
    )
    try:
        for line in unknown({name for kind in settings_classes().values() for name in kind.model_fields}):
            typer.echo(f"note: {line}")
        asyncio.run(Supervisor(options, typer.echo).run())
    except (NoServiceError, SetupError) as error:
        fail(str(error))
