"""The set: servers, schema, services, in order; restarts; scaling; the end, in the other order."""

import asyncio
import contextlib
import http.client
import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from vedette.rpc.client import NotDoneError, OutcomeUnknownError, Peer, Peers
from vedette.rpc.contract import Hello
from vedette.rpc.discovery import Discovery
from vedette.rpc.token import RpcToken
from vedette.runtime.health import READYZ
from vedette.runtime.health import ask as ask_service
from vedette.runtime.parameters import PREFIX
from vedette.runtime.process import Identity
from vedette.runtime.settings import StoreSettings, given
from vedette_cli.commands.migrate import MigrateError, bring_to_schema, make_secret_files, table_names
from vedette_cli.configuration.file import names_in_file
from vedette_cli.supervisor import leftovers
from vedette_cli.supervisor.control import ControlServer
from vedette_cli.supervisor.embedded_postgres import EmbeddedPostgres, empty
from vedette_cli.supervisor.embedded_redis import EmbeddedRedis
from vedette_cli.supervisor.folders import SetupError, open_data_folder
from vedette_cli.supervisor.forking import Forks
from vedette_cli.supervisor.metrics_targets import write_targets
from vedette_cli.supervisor.options import MOST_PROCESSES, Ports, UpOptions, check_addresses
from vedette_cli.supervisor.own_certificate import own_certificate
from vedette_cli.supervisor.peer_lists import PeerLists
from vedette_cli.supervisor.service import API, CORE, EDGE, NOTIFIER, Kind, Service
from vedette_cli.supervisor.unprivileged import choose_user

KINDS = {kind.name: kind for kind in (EDGE, CORE, API, NOTIFIER)}
SCALABLE = ("core", "notifier", "edge")
READY_PATIENCE = 30.0
LARGEST_LOG = 10 * 1024 * 1024
STOP_PATIENCE = {"edge": 3.0, "notifier": 1.5, "core": 1.5, "api": 1.0}
LEAVE_PATIENCE = {"edge": 8.0, "notifier": 6.0, "core": 12.0, "api": 5.0}
"""For a process that leaves while the set goes on: there is no hurry, and it may have work in hand."""
RESTART_ORDER = ("core", "notifier", "edge", "api")
STOP_TOTAL = 8.0
"""Seconds for everything; docker and systemd kill after 10. What the services leave is the servers'."""
KEEP_PATIENCE = 20.0
"""Seconds for a service that has dialogs of Redis to write to Postgres (fallback2db=0)."""
SERVER_PATIENCE = 2.0
CATCH_UP_INTERVAL = 1.0

_OPEN = (
    "  watchers  default_rule=allow: who has no rules is seen by everybody; with VEDETTE_DEFAULT_RULE=confirm they "
    "wait for a decision"
)
_IN_REDIS = (
    "  dialogs   fallback2db=0: subscriptions are in Redis, and the newest are lost with it; nobody is kept waiting, "
    "and decisions of rules are not listed (docs/modes.md)"
)
_AUTH = {
    "none": "auth=none: whoever reaches it may publish and watch",
    "digest": "auth=digest: users and trusted peers may publish and watch",
    "trusted": "auth=trusted: trusted peers may publish and watch",
}

Say = Callable[[str], None]


class Supervisor:
    """Everything that one `vedette up` runs."""

    def __init__(self, options: UpOptions, say: Say) -> None:
        self._options = options
        self._say = say
        self._services: dict[str, list[Service]] = {name: [] for name in KINDS}
        self._servers: list[EmbeddedPostgres | EmbeddedRedis] = []
        self._server_tasks: list[asyncio.Task[object]] = []
        self._unremembered = False
        self._ports = Ports(options.sip_port, options.api_port, {})
        self._own_certificate: Path | None = None
        self._opened = False
        """Whether it is we who let everybody watch, and so have to say it."""
        self._dialogs_in_redis = False
        self._stopping = False
        self._scaling = asyncio.Lock()

    async def run(self) -> None:
        """Start everything, say `ready`, and return when SIGTERM or Ctrl-C has ended it all. Raises SetupError."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        self._folders, lock = open_data_folder(self._options.data)
        modules = sorted({kind.module for kind in KINDS.values()})
        self._forks = Forks(modules, self._folders.logs / "fork-server.log")
        control = ControlServer(self._folders.control, self._control)
        starting = asyncio.create_task(self._start())
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
                return
            await starting
            await control.start()
            self._say(self._ready_text())
            await stopped
            self._say("stopping")
        finally:
            stopped.cancel()
            await control.stop()
            await self._stop()
            os.close(lock)

    # start

    async def _start(self) -> None:
        folders, options = self._folders, self._options
        if await asyncio.to_thread(leftovers.wait_for, self._leftovers_file):
            self._say("an earlier set was killed; its processes have ended")
        self._ports = check_addresses(options)
        if options.fresh:
            if options.database_url is not None:
                raise SetupError(
                    "--fresh empties the embedded database only; empty the one of --database-url yourself"
                )
            empty(folders)
        try:
            make_secret_files(folders.secrets)
        except OSError as error:
            raise SetupError(f"cannot write to {folders.secrets}: {error.strerror}") from None
        self._token = RpcToken.from_file(folders.secrets / "rpc_token")
        self._peers = PeerLists(folders.run)
        self._peers.clear()
        self._server_tasks.append(asyncio.create_task(self._catch_up()))
        for log in folders.logs.glob("*.log"):
            if log.stat().st_size > LARGEST_LOG:
                log.replace(log.with_suffix(".log.1"))
        self._server_tasks.append(asyncio.create_task(self._forks.start()))  # which imports while the servers start
        database_url, redis_url = await self._start_servers()
        await self._migrate(database_url)
        self._environment = self._service_environment(database_url, redis_url)
        self._store_urls = {"db_url": self._with_password(database_url), "redis_url": redis_url}
        self._say("starting edge, cores, api, notifier")
        await self._grow(CORE, options.cores)
        await asyncio.gather(
            self._grow(API, 1), self._grow(NOTIFIER, options.notifiers), self._grow(EDGE, options.edges)
        )
        await self._wait_until_ready()

    async def _start_servers(self) -> tuple[str, str]:
        """URLs of Postgres and Redis, those that were named or embedded ones."""
        options = self._options
        user = choose_user()
        with contextlib.suppress(ValueError, OSError):  # the services say what is wrong with a parameter
            self._dialogs_in_redis = not StoreSettings().fallback2db
        database_url, redis_url = options.database_url, options.redis_url
        if database_url is None:
            postgres = EmbeddedPostgres(self._folders, user)
            self._say(f"starting Postgres in {self._folders.postgres}")
            await postgres.prepare()
            await self._start_server(postgres)
            database_url = postgres.url()
        if redis_url is None:
            redis = EmbeddedRedis(self._folders, user, cache=not self._dialogs_in_redis)
            self._say("starting Redis")
            await redis.prepare()
            await self._start_server(redis)
            redis_url = redis.url()
        return database_url, redis_url

    async def _start_server(self, server: EmbeddedPostgres | EmbeddedRedis) -> None:
        self._servers.append(server)
        await server.start()
        self._remember()
        self._server_tasks.append(asyncio.create_task(self._watch_server(server)))

    async def _watch_server(self, server: EmbeddedPostgres | EmbeddedRedis) -> None:
        """Start a server again when it dies; whatever goes wrong with that, try on."""
        while server.process is not None:
            await server.process.wait()
            if self._stopping:
                return
            self._say(f"{_server_name(server)} died; starting it again")
            try:
                await server.start()
            except SetupError as error:
                self._say(str(error))
                await asyncio.sleep(1)
            except Exception as error:  # noqa: BLE001 - nobody else would start the server again
                self._say(f"{_server_name(server)} did not start: {type(error).__name__}: {error}")
                await asyncio.sleep(1)
            self._remember()

    async def _migrate(self, database_url: str) -> None:
        self._say("bringing the database to the schema")
        try:
            await bring_to_schema(
                self._with_password(database_url), lambda step: self._say(f"  {step}"), table_names()
            )
        except MigrateError as error:
            raise SetupError(str(error)) from None

    def _with_password(self, database_url: str) -> str:
        if self._options.database_url is not None:
            return database_url
        password = (self._folders.secrets / "database_password").read_text(encoding="ascii").strip()
        return database_url.replace("vedette@", f"vedette:{password}@", 1)

    def _service_environment(self, database_url: str, redis_url: str) -> dict[str, str]:
        options = self._options
        environment = {name: value for name, value in os.environ.items() if name != "VEDETTE_READY_FD"}
        if "VEDETTE_REGISTRAR" not in environment and "registrar" not in names_in_file():
            environment["VEDETTE_REGISTRAR"] = "on"
        own = {
            "PYTHONUNBUFFERED": "1",
            "VEDETTE_RPC_HOST": "127.0.0.1",
            "VEDETTE_RPC_PORT": "0",
            "VEDETTE_METRICS_HOST": "127.0.0.1",
            "VEDETTE_RPC_TOKEN_FILE": str(self._folders.secrets / "rpc_token"),
            "VEDETTE_DB_URL": database_url,
            "VEDETTE_REDIS_URL": redis_url,
            "VEDETTE_CORE_PEERS": self._peers.specification("core"),
            "VEDETTE_NOTIFIER_PEERS": self._peers.specification("notifier"),
            "VEDETTE_EDGE_PEERS": self._peers.specification("edge"),
            "VEDETTE_SIP_HOST": options.host,
            "VEDETTE_SIP_PORT": str(self._ports.sip),
            "VEDETTE_REUSE_PORT": "true",
            "VEDETTE_API_HOST": "127.0.0.1",
            "VEDETTE_API_PORT": str(self._ports.api),
        }
        if environment.get("VEDETTE_METRICS_PORT"):  # one port cannot be everybody's; an empty one says: no metrics
            own["VEDETTE_METRICS_PORT"] = "0"
        if options.database_url is None:
            own["VEDETTE_DB_PASSWORD_FILE"] = str(self._folders.secrets / "database_password")
        if options.auth is not None:
            own["VEDETTE_AUTH"] = options.auth
        if options.api_auth is not None:
            own["VEDETTE_API_AUTH"] = options.api_auth
        if "default_rule" not in given(StoreSettings):
            own["VEDETTE_DEFAULT_RULE"] = "allow"
            self._opened = True
        if options.advertise is not None:
            own["VEDETTE_SERVER_ADDRESS"] = options.advertise
        own |= self._tls_environment(environment)
        self._commanded = set(own)
        return environment | own

    def _tls_environment(self, environment: dict[str, str]) -> dict[str, str]:
        """What edges are told of TLS and WebSocket. Raises SetupError where no certificate can be made."""
        options = self._options
        own = {f"VEDETTE_{name.upper()}_PORT": str(port) for name, port in self._ports.others.items()}
        files = {
            "VEDETTE_TLS_CERTIFICATE": options.tls_certificate,
            "VEDETTE_TLS_KEY": options.tls_key,
            "VEDETTE_TLS_CLIENT_CA": options.tls_client_ca,
        }
        has_certificate = options.tls_certificate is not None or environment.get("VEDETTE_TLS_CERTIFICATE")
        if not has_certificate and self._ports.others.keys() & {"tls", "wss"}:
            hosts = ["localhost", *options.hosts]
            hosts += [address.rpartition(":")[0].strip("[]") for address in options.advertised]
            try:
                certificate, key = own_certificate(self._folders.tls, hosts)
            except OSError as error:
                raise SetupError(f"cannot write to {self._folders.tls}: {error.strerror}") from None
            files |= {"VEDETTE_TLS_CERTIFICATE": certificate, "VEDETTE_TLS_KEY": key}
            self._own_certificate = certificate
        return own | {name: str(path.absolute()) for name, path in files.items() if path is not None}

    async def _grow(self, kind: Kind, count: int) -> None:
        """Start processes of a kind until there are `count`, all at once.

        Raises SetupError where some do not start; they are forgotten, the others stay.
        """
        services = self._services[kind.name]
        taken = {service.index for service in services}
        free = (index for index in itertools.count() if index not in taken)
        new = [self._make(kind, index) for index in itertools.islice(free, max(0, count - len(services)))]
        services.extend(new)
        services.sort(key=lambda service: service.index)
        problems = await asyncio.gather(*(self._try_to_start(service) for service in new))
        if any(problems):
            raise SetupError("\n".join(problem for problem in problems if problem))

    async def _try_to_start(self, service: Service) -> str:
        """What went wrong; "" where it is ready."""
        try:
            await service.start()
        except SetupError as error:
            self._services[service.kind.name].remove(service)
            return str(error)
        return ""

    def _make(self, kind: Kind, index: int) -> Service:
        environment = self._environment | {"VEDETTE_ROLE": "api" if kind is API else "core"}
        log = self._folders.logs / f"{kind.name}-{index}.log"
        return Service(kind, index, forks=self._forks, environment=environment, log=log, changed=self._changed)

    async def _shrink(self, kind: Kind, count: int) -> None:
        """End the processes with the highest numbers; each gives what it has in hand a moment to end."""
        services = self._services[kind.name]
        surplus = services[count:]
        del services[count:]
        await asyncio.gather(*(service.stop(LEAVE_PATIENCE[kind.name]) for service in surplus))

    async def _replace(self, old: Service) -> None:
        """Put another process in the place of one: the new one works before the old one is told to end.

        The api, of which there is one on a port of its own, is away for a moment. Raises SetupError where the new one
        does not start; the old one goes on, then.
        """
        kind, services = old.kind, self._services[old.kind.name]
        if kind is API:
            await old.stop(LEAVE_PATIENCE[kind.name])
            services.remove(old)
        new = self._make(kind, old.index)
        services.append(new)
        services.sort(key=lambda service: service.index)
        problem = await self._try_to_start(new)
        if problem:
            raise SetupError(problem)
        if kind is not API:
            services.remove(old)
            await old.stop(LEAVE_PATIENCE[kind.name])

    def _changed(self, service: Service) -> None:
        address = service.facts.get("address")
        if address is None and not self._stopping and service in self._services[service.kind.name]:
            self._say(f"{service.name} ended; starting it again")
        try:
            if address is None:
                self._peers.remove(service.kind.name, service.number)
            else:
                self._peers.put(service.kind.name, service.number, address)
        except OSError as error:
            self._say(f"cannot write the list of peers, which is tried again: {error}")
        with contextlib.suppress(OSError):  # written anew with the next change
            write_targets(self._targets_file, self._all())
        self._remember()

    async def _catch_up(self) -> None:
        """Write what could not be written, each second: a full disk is no reason to leave a service unknown."""
        while True:
            await asyncio.sleep(CATCH_UP_INTERVAL)
            with contextlib.suppress(OSError):
                self._peers.write_again()
            if self._unremembered:
                self._remember()

    async def _wait_until_ready(self) -> None:
        """Return when /readyz says so. Raises SetupError where it does not in time."""
        address = self._services["api"][0].facts["address"]
        problem = "no answer"
        try:
            async with asyncio.timeout(READY_PATIENCE):
                while problem := await asyncio.to_thread(_what_is_missing, address):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise SetupError(f"the set is not ready after {READY_PATIENCE:g} seconds: {problem}") from None

    # while running

    @property
    def _targets_file(self) -> Path:
        return self._folders.run / "metrics.json"

    @property
    def _leftovers_file(self) -> Path:
        return self._folders.run / "children.json"

    def _remember(self) -> None:
        processes = [server.process for server in self._servers]
        pids = [process.pid for process in processes if process is not None and process.returncode is None]
        pids += [service.pid for service in self._all() if service.pid is not None]
        pids += self._forks.pids
        try:
            leftovers.remember(self._leftovers_file, pids)
        except OSError as error:
            if not self._unremembered:
                self._say(f"cannot write the list of processes, which is tried again: {error}")
            self._unremembered = True
        else:
            self._unremembered = False

    def _all(self) -> Iterable[Service]:
        return [service for services in self._services.values() for service in services]

    async def _control(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["command"]:
            case "status":
                return await self._status()
            case "api":
                return {"api": self._api_url()}
            case "stores":
                return self._store_parameters()
            case "watchers":
                return self._watcher_parameters()
            case "parameters":
                return self._parameters()
            case "scale":
                return await self._scale({str(name): int(count) for name, count in request["counts"].items()})
            case "restart":
                return await self._restart([str(name) for name in request["services"]])
        raise ValueError(f"unknown command {request['command']!r}")

    def _store_parameters(self) -> dict[str, Any]:
        """Where the two stores are, and what shapes the hash tables: the services read the same environment."""
        settings = StoreSettings()
        names = ("pres_htable_size", "subs_htable_size", "fallback2db")
        return {**{name: getattr(settings, name) for name in names}, **self._store_urls}

    def _watcher_parameters(self) -> dict[str, Any]:
        """Who may watch where nobody has decided, as the services have it."""
        settings = StoreSettings()
        names = ("dialog_rule", "force_active", "enable_sphere_check", "sip_uri_match", "mix_dialog_presence")
        found = {name: getattr(settings, name) for name in names}
        return {**found, "default_rule": "allow" if self._opened else settings.default_rule}

    def _parameters(self) -> dict[str, Any]:
        """The parameters that the services are given, and the names of those that this command says itself."""
        given = {name: value for name, value in self._environment.items() if name.upper().startswith(PREFIX)}
        return {"environment": given, "commanded": sorted(self._commanded & given.keys())}

    async def _scale(self, counts: dict[str, int]) -> dict[str, Any]:
        for name, count in counts.items():
            if name not in SCALABLE:
                raise ValueError(f"{name!r} cannot be scaled; these can: {', '.join(SCALABLE)}")
            if not 1 <= count <= MOST_PROCESSES:
                raise ValueError(f"{name}={count}: from 1 to {MOST_PROCESSES} are possible")
        async with self._scaling:
            for name in SCALABLE:
                if name in counts:
                    if self._stopping:
                        raise ValueError("the set is stopping")
                    try:
                        await self._grow(KINDS[name], counts[name])
                    except SetupError as error:
                        running = len(self._services[name])
                        raise ValueError(f"{error}\n{running} of {counts[name]} run: {name}={running}") from None
                    await self._shrink(KINDS[name], counts[name])
        return await self._status()

    async def _restart(self, names: list[str]) -> dict[str, Any]:
        """Replace every process of these services, or of all, one after the other."""
        for name in names:
            if name not in KINDS:
                raise ValueError(f"{name!r} cannot be restarted; these can: {', '.join(KINDS)}")
        async with self._scaling:
            self._forks.renew()
            for name in RESTART_ORDER:
                for service in list(self._services[name]) if not names or name in names else ():
                    if self._stopping:
                        raise ValueError("the set is stopping")
                    try:
                        await self._replace(service)
                    except SetupError as error:
                        raise ValueError(f"{error}\nthe processes before it in the order were restarted") from None
        return await self._status()

    async def _status(self) -> dict[str, Any]:
        processes: list[dict[str, Any]] = []
        for server in self._servers:
            process = server.process
            alive = process is not None and process.returncode is None
            processes.append(
                {
                    "service": _server_name(server),
                    "index": 0,
                    "pid": process.pid if process is not None and alive else None,
                    "address": str(self._folders.sockets),
                    "ready": alive,
                    "restarts": 0,
                }
            )
        hellos = await self._hellos()
        for service in self._all():
            hello = hellos.get(service.number)
            processes.append(
                {
                    "service": service.kind.name,
                    "index": service.index,
                    "pid": service.pid,
                    "address": service.facts.get("address", ""),
                    "metrics": service.facts.get("metrics", ""),
                    "ready": hello.ready if hello is not None else service.kind is API and bool(service.facts),
                    "restarts": service.restarts,
                }
            )
        return {
            "sip": self._address(self._ports.sip),
            **{name: self._address(port) for name, port in self._ports.others.items()},
            "api": self._api_url(),
            "data": str(self._folders.data),
            "metrics": str(self._targets_file),
            "processes": processes,
        }

    async def _hellos(self) -> dict[int, Hello]:
        """What the services say of themselves, by number."""
        peers = Peers(Discovery(""), token=self._token, who=Identity("supervisor").hello)
        found: dict[int, Hello] = {}

        async def ask(service: Service) -> None:
            try:
                found[service.number] = await peers.ask(Peer(service.facts["address"]))
            except (NotDoneError, OutcomeUnknownError):
                return

        try:
            await asyncio.gather(*(ask(s) for s in self._all() if s.kind is not API and s.facts))
        finally:
            await peers.close()
        return found

    def _address(self, port: int) -> str:
        """host:port, at the first address."""
        host = self._options.hosts[0]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _auth(self) -> str:
        """How edges find out who sends."""
        return self._services["edge"][0].facts.get("auth", "") if self._services["edge"] else ""

    def _api_url(self) -> str:
        address = self._services["api"][0].facts.get("address", "") if self._services["api"] else ""
        return f"http://{address}"

    def _ready_text(self) -> str:
        sip = self._address(self._ports.sip)
        server = "" if sip == "127.0.0.1:5060" else f" --server {sip}"
        lines = [
            "ready",
            f"  SIP       {sip} (UDP and TCP), {_AUTH.get(self._auth(), '')}",
            *(f"  {name.upper():9} {self._address(port)}" for name, port in self._ports.others.items()),
            *(
                [f"  made for TLS, to try it: {self._own_certificate}; clients trust it when they are told to"]
                if self._own_certificate
                else []
            ),
            f"  REST      {self._api_url()}/api/v1/presentities  (whether all is well: {self._api_url()}/readyz)",
            f"  metrics   {self._targets_file} (where Prometheus reads them: file_sd_configs)",
            *([_OPEN] if self._opened else []),
            *([_IN_REDIS] if self._dialogs_in_redis else []),
            f"  data      {self._folders.data} (logs in {self._folders.logs})",
        ]
        lines += [
            f"  {service.name:9} pid {service.pid}, RPC {service.facts.get('address', '')}"
            for service in self._all()
            if service.kind is not API
        ]
        vedette = _command()
        if self._auth() == "digest":
            data = "" if self._options.data == Path(".vedette") else f" --data {self._options.data}"
            lines.append(
                f"Users: {vedette} user add alice@example.com{data}, and for bob; then --user and --password."
            )
        lines += [
            "Try, each in a terminal of its own:",
            f"  {vedette} watch sip:alice@example.com --as sip:bob@example.com{server}",
            f'  {vedette} publish sip:alice@example.com --note "In a meeting" --activity meeting{server}',
            "Ctrl-C stops everything.",
        ]
        return "\n".join(lines)

    # end

    async def _stop(self) -> None:
        """End everything in order: edges, then those behind them, then the servers.

        Within STOP_TOTAL, unless there are dialogs to be written to Postgres.
        """
        self._stopping = True
        ends = asyncio.get_running_loop().time() + STOP_TOTAL
        for names in (("edge",), ("notifier", "core", "api")):
            await asyncio.gather(
                *(service.stop(self._stop_patience(name)) for name in names for service in self._services[name])
            )
        left = max(SERVER_PATIENCE, ends - asyncio.get_running_loop().time())
        await asyncio.gather(*(server.stop(left) for server in self._servers), self._forks.stop(left))
        for task in self._server_tasks:
            task.cancel()
        await asyncio.gather(*self._server_tasks, return_exceptions=True)
        leftovers.forget(self._leftovers_file)

    def _stop_patience(self, name: str) -> float:
        """Seconds that a service of this kind may take to end."""
        return KEEP_PATIENCE if self._dialogs_in_redis and name != "edge" else STOP_PATIENCE[name]


def _what_is_missing(api: str) -> str:
    """What /readyz says is missing; "" where nothing is."""
    try:
        status, text = ask_service(api, "GET", READYZ)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    return "" if status == http.client.OK else text.decode()


def _server_name(server: EmbeddedPostgres | EmbeddedRedis) -> str:
    return "postgres" if isinstance(server, EmbeddedPostgres) else "redis"


def _command() -> str:
    """How this machine's user calls `vedette`."""
    path = Path(sys.argv[0])
    if path.name == "__main__.py":
        return f"{sys.executable} -m vedette_cli"
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
