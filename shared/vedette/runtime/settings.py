"""Settings from the environment (`VEDETTE_...`) and a TOML file, checked before anything starts."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

PREFIX = "VEDETTE_"

Port = Annotated[int, Field(ge=0, le=65535)]


class ParameterError(ValueError):
    """A rule between parameters that is broken; `name` is the field to blame. For model validators."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class ServiceSettings(BaseSettings):
    """What every service has."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    rpc_host: str = Field("127.0.0.1", description="Address the RPC server listens on.")
    rpc_port: Port = Field(0, description="Port of the RPC server; 0: any free one.")
    rpc_address: str = Field(
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
    ready_fd: int = Field(-1, description="File descriptor that gets one line when the service is ready; -1: none.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then the file that VEDETTE_CONFIG names."""
        del dotenv_settings, file_secret_settings
        file = os.environ.get(f"{PREFIX}CONFIG")
        if not file:
            return init_settings, env_settings
        if not Path(file).is_file():
            # pydantic-settings passes over a file that is missing; the operator believes that it is read
            raise ValueError(f"{file!r} is not a file")
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, Path(file))


def whole_number(value: object) -> object:
    """The number that a text of digits stands for: Literal takes no text, and the environment has nothing else."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


Switch = Annotated[Literal[0, 1], BeforeValidator(whole_number)]
"""0: no; 1: yes, as the original module has it."""


class StoreSettings(ServiceSettings):
    """What the services with a database have."""

    db_url: str = Field(
        "postgresql://vedette@127.0.0.1/vedette",
        description="Postgres, as a URL; the password may be left out.",
    )
    db_password_file: Path | None = Field(None, description="File with the database password.")
    db_connections: Annotated[int, Field(ge=1, le=64)] = Field(4, description="Connections to Postgres.")
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="Redis, as a URL.")
    fallback2db: Annotated[Literal[1], BeforeValidator(whole_number)] = Field(
        1,
        description="A record that is not found in the cache is searched in Postgres, which has every record.",
    )
    expires_offset: Annotated[int, Field(ge=0, le=3600)] = Field(
        0,
        description="Seconds by which the lifetime told is shorter than the one kept: for refreshes that come late.",
    )
    pres_htable_size: Annotated[int, Field(ge=1, le=16)] = Field(
        9, description="The table of published state in Redis has 2 to this power buckets."
    )
    subs_htable_size: Annotated[int, Field(ge=1, le=16)] = Field(
        9, description="The table of dialogs in Redis has 2 to this power buckets."
    )
    clean_period: Annotated[int, Field(ge=1, le=86400)] = Field(
        100, description="Seconds between the sweeps that remove tombstones."
    )

    def database_url(self) -> str:
        """`db_url` with the password from `db_password_file`; OSError where that cannot be read."""
        if self.db_password_file is None:
            return self.db_url
        password = self.db_password_file.read_text(encoding="ascii").strip()
        scheme, separator, rest = self.db_url.partition("://")
        user, at, place = rest.partition("@")
        return f"{scheme}{separator}{user.partition(':')[0]}:{password}{at}{place}"


Settings = TypeVar("Settings", bound=ServiceSettings)


def load_settings(kind: type[Settings]) -> Settings:
    """The settings of a service; ends the process with one line for each bad parameter (exit code 2)."""
    try:
        return kind()
    except ValidationError as error:
        lines = [describe(kind, dict(item)) for item in error.errors()]
    except (OSError, ValueError) as error:
        lines = [f"{PREFIX}CONFIG: {error}"]
    return fail("\n".join(lines))


def describe(kind: type[ServiceSettings], error: dict[str, Any]) -> str:
    """One bad parameter as a person needs it: name, what was found, what is allowed."""
    message = str(error["msg"]).removeprefix("Value error, ")
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, ParameterError):
        # pydantic says nothing of the place, and the input it has is all parameters: the message says what was found
        name, found = cause.name, ""
    else:
        name = str(error["loc"][0]) if error["loc"] else "settings"
        found = "" if error["type"] == "missing" or "secret" in name else f" Found: {error['input']!r}."
    field = kind.model_fields.get(name)
    meaning = f" ({field.description})" if field is not None and field.description else ""
    return f"{PREFIX}{name.upper()}: {message}.{found}{meaning}"


def fail(message: str) -> NoReturn:
    """Say why the process cannot start, and end it with code 2."""
    sys.stderr.write(message + "\n")
    sys.exit(2)
