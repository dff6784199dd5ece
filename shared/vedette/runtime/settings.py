"""Settings from the environment (`VEDETTE_...`) and a TOML file, checked before anything starts."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from vedette.rules.permissions import Handling
from vedette.rules.ruling import Defaults
from vedette.runtime.addresses import HostPortOrNone, IpAddress, PostgresUrl, RedisUrl
from vedette.runtime.parameters import PREFIX, About, about_field, allowed, environment_name, masked
from vedette.store.operator_tables import KINDS, TABLES

Port = Annotated[int, Field(ge=0, le=65535), About("port")]


def _nothing(value: object) -> object:
    """None for an empty text, as compose passes on what nobody has set."""
    return None if value == "" else value


OptionalPort = Annotated[
    Annotated[int, Field(ge=0, le=65535)] | None,
    BeforeValidator(_nothing),
    About("port", allowed="a whole number from 0 to 65535, or nothing"),
]
OptionalNumber = Annotated[
    Annotated[int, Field(ge=0, le=1_000_000)] | None,
    BeforeValidator(_nothing),
    About(allowed="a whole number from 0 to 1000000, or nothing"),
]
OptionalFile = Annotated[Path | None, BeforeValidator(_nothing)]


class ParameterError(ValueError):
    """A rule between parameters that is broken; `name` is the field to blame. For model validators."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Parameters(BaseSettings):
    """Where parameters come from: the environment, then the file that VEDETTE_CONFIG names."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then the file."""
        del dotenv_settings, file_secret_settings
        file = config_file()
        if file is None:
            return init_settings, env_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file)


class ServiceSettings(Parameters):
    """What every service has."""

    rpc_host: IpAddress = Field("127.0.0.1", description="Address the RPC server listens on.")
    rpc_port: Port = Field(0, description="Port of the RPC server; 0: any free one.")
    rpc_address: HostPortOrNone = Field(
        "",
        description="host:port that other services reach it by; empty: as it listens, "
        "or on all addresses the one of the host's name.",
    )
    rpc_token_file: Path = Field(
        Path("/var/lib/vedette/secrets/rpc_token"), description="File with the token the services share."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged.")
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="One JSON object for each event, or text; auto: text on a terminal."
    )
    metrics_host: IpAddress = Field(
        "127.0.0.1",
        description="Address that `/metrics` is read on. Whoever reaches it may read it; it names no user.",
    )
    metrics_port: OptionalPort = Field(
        0, description="Port of `/metrics`; 0: any free one, which is logged; nothing: no metrics."
    )
    trace_buffer: Annotated[int, Field(ge=0, le=1_000_000_000), About("octets")] = Field(
        4_000_000,
        description="Memory, about, for what happened of late to the requests that passed this process; "
        "`vedette trace` shows it. 0: none.",
    )
    ready_fd: Annotated[int, About("descriptor")] = Field(
        -1, description="File descriptor that gets one line when the service is ready; -1: none."
    )


def whole_number(value: object) -> object:
    """The number that a text of digits stands for: Literal takes no text, and the environment has nothing else."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


Switch = Annotated[Literal[0, 1], BeforeValidator(whole_number)]
"""0: no; 1: yes, as the original module has it."""

TableName = Annotated[
    str,
    Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$"),
    About(allowed="a name of up to 63 lower-case letters, digits and underscores, the first one no digit"),
]


class TableSettings(Parameters):
    """The names that operators' tools know our tables by; `vedette migrate` makes a view of each other name."""

    presentity_table: TableName = Field(
        "presentity",
        description="Name that tools find the publications by. Where it is another, `vedette migrate` makes a view "
        "of this name with the columns of OpenSIPS and Kamailio; our own table keeps its name.",
    )
    active_watchers_table: TableName = Field(
        "active_watchers", description="The same for the subscription dialogs (active_watchers)."
    )
    watchers_table: TableName = Field("watchers", description="The same for the decisions about watchers (watchers).")

    def table_names(self) -> dict[str, str]:
        """The name of each kind of table."""
        return {kind: str(getattr(self, f"{kind}_table")) for kind in KINDS}

    @model_validator(mode="after")
    def _one_name_for_each(self) -> Self:
        names = self.table_names()
        own = {kind: name for kind, name in names.items() if name != kind}
        for kind, name in own.items():
            if name in TABLES:
                raise ParameterError(f"{kind}_table", f"{name!r} is the name of another table of Vedette")
            if list(own.values()).count(name) > 1:
                raise ParameterError(f"{kind}_table", f"{name!r} is said of two tables")
        return self


class StoreSettings(ServiceSettings, TableSettings):
    """What the services with a database have."""

    db_url: PostgresUrl = Field(
        "postgresql://vedette@127.0.0.1/vedette",
        description="Postgres, as a URL; the password may be left out.",
    )
    db_password_file: Path | None = Field(None, description="File with the database password.")
    db_connections: Annotated[int, Field(ge=1, le=64), About("connections")] = Field(
        4, description="Connections to Postgres that each process keeps."
    )
    redis_url: RedisUrl = Field("redis://127.0.0.1:6379/0", description="Redis, as a URL.")
    fallback2db: Switch = Field(
        1,
        description="1: a record that is not found in the cache is searched in Postgres, which has every record. "
        "0: a search stops at the cache; dialogs are in Redis, and in Postgres as of the last db_update_period.",
    )
    db_update_period: Annotated[int, Field(ge=0, le=86400), About("seconds", only_with=("fallback2db", 0))] = Field(
        100,
        description="How often dialogs are copied from Redis to Postgres. 0: only at shutdown.",
    )
    expires_offset: Annotated[int, Field(ge=0, le=3600), About("seconds")] = Field(
        0,
        description="By how much the lifetime told is shorter than the one kept: for refreshes that come late.",
    )
    pres_htable_size: Annotated[int, Field(ge=1, le=16), About("power of two")] = Field(
        9, description="The table of published state in Redis has 2 to this power buckets."
    )
    subs_htable_size: Annotated[int, Field(ge=1, le=16), About("power of two")] = Field(
        9, description="The table of dialogs in Redis has 2 to this power buckets."
    )
    waiting_subs_daysno: Annotated[int, Field(ge=0, le=30), About("days")] = Field(
        3,
        description="How long a subscription that ended while it was pending is kept as waiting (fallback2db=1), "
        "and what rules decided about a watcher who is gone. 0: not at all.",
    )
    sip_uri_match: Switch = Field(
        0, description="1: user parts of presentities are compared without regard to case (domains always are)."
    )
    default_rule: Literal["allow", "polite-block", "confirm", "block"] = Field(
        "confirm",
        description="What becomes of those who watch the presence of somebody who has no rules. allow: they see it; "
        "polite-block: they see somebody who is offline; confirm: they wait for a decision; block: 403. `vedette up` "
        "and docker-compose.yml set allow.",
    )
    dialog_rule: Literal["same-domain", "allow", "confirm", "block"] = Field(
        "same-domain",
        description="The same for those who watch the calls (dialog, dialog;sla). same-domain: who is of the "
        "presentity's domain sees them, all others get 403.",
    )
    force_active: Switch = Field(
        0,
        description="1: every subscription to presence is active and sees everything; its rules, and what was "
        "decided by hand, are not asked.",
    )
    enable_sphere_check: Switch = Field(
        0,
        description="1: rules may ask for the sphere that a presentity has published; a new one has everybody judged "
        "again. 0: a rule that asks for it never matches.",
    )
    mix_dialog_presence: Switch = Field(
        0,
        description="1: watchers of the event presence are shown the calls that are published as the event dialog: "
        "on the phone, with a note.",
    )
    clean_period: Annotated[int, Field(ge=1, le=86400), About("seconds")] = Field(
        100,
        description="Time between the sweeps that remove what ended long ago. Whatever it is, an expiry is told "
        "within a second.",
    )

    def defaults(self) -> Defaults:
        """What holds of watchers where neither a person nor rules have decided."""
        return Defaults(
            default_rule=Handling.from_text(self.default_rule),
            dialog_rule=self.dialog_rule,
            force_active=bool(self.force_active),
            sphere_check=bool(self.enable_sphere_check),
            any_case=bool(self.sip_uri_match),
        )

    @model_validator(mode="after")
    def _somebody_has_the_password(self) -> Self:
        if self.db_password_file is not None and not urlsplit(self.db_url).netloc.rpartition("@")[0]:
            raise ParameterError("db_url", "names no user, whose password VEDETTE_DB_PASSWORD_FILE would be")
        return self

    def database_url(self) -> str:
        """`db_url` with the password from `db_password_file`; OSError where that cannot be read."""
        if self.db_password_file is None:
            return self.db_url
        password = self.db_password_file.read_text(encoding="ascii").strip()
        scheme, separator, rest = self.db_url.partition("://")
        user, at, place = rest.partition("@")
        return f"{scheme}{separator}{user.partition(':')[0]}:{quote(password, safe='')}{at}{place}"


def config_file() -> Path | None:
    """The file that VEDETTE_CONFIG names, None where it names none; ValueError where that is no file."""
    file = os.environ.get(f"{PREFIX}CONFIG")
    if not file:
        return None
    if not Path(file).is_file():
        # pydantic-settings passes over a file that is missing; the operator believes that it is read
        raise ValueError(f"{file!r} is not a file")
    return Path(file)


def given(kind: type[Parameters]) -> dict[str, Literal["environment", "file"]]:
    """Where each parameter that is set comes from. Raises OSError or ValueError for a file that cannot be read."""
    found: dict[str, Literal["environment", "file"]] = {}
    file = config_file()
    if file is not None:
        found |= dict.fromkeys(TomlConfigSettingsSource(kind, file)(), "file")
    found |= dict.fromkeys(EnvSettingsSource(kind)(), "environment")
    return {name: source for name, source in found.items() if name in kind.model_fields}


Settings = TypeVar("Settings", bound=Parameters)


def read_settings(kind: type[Settings]) -> Settings | list[str]:
    """The settings, or one line for each bad parameter."""
    try:
        return kind()
    except ValidationError as error:
        return [describe(kind, dict(item)) for item in error.errors()]
    except (OSError, ValueError) as error:
        return [f"{PREFIX}CONFIG: {error}"]


def load_settings(kind: type[Settings]) -> Settings:
    """The settings of a service; ends the process with one line for each bad parameter (exit code 2)."""
    found = read_settings(kind)
    return fail("\n".join(found)) if isinstance(found, list) else found


def describe(kind: type[Parameters], error: dict[str, Any]) -> str:
    """One bad parameter as a person needs it: name, what was found, what is allowed, what it means."""
    message = str(error["msg"]).removeprefix("Value error, ")
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, ParameterError):
        # pydantic says nothing of the place, and the input it has is all parameters: the message says what was found
        name, found = cause.name, ""
    else:
        name = str(error["loc"][0]) if error["loc"] else "settings"
        found = "" if error["type"] == "missing" or "secret" in name else f" Found: {error['input']!r}."
    field = kind.model_fields.get(name)
    if field is None:
        return f"{environment_name(name)}: {message}.{found}"
    about = about_field(field)
    if about.secret and found:
        found = f" Found: {masked(str(error['input']))!r}."
    unit = f" ({about.unit})" if about.unit else ""
    meaning = f" {field.description}" if field.description else ""
    return f"{environment_name(name)}: {message}.{found} Allowed: {allowed(field)}{unit}.{meaning}"


def fail(message: str) -> NoReturn:
    """Say why the process cannot start, and end it with code 2."""
    sys.stderr.write(message + "\n")
    sys.exit(2)
