"""A command that asks REST: where that is, with which token, and how its answers and its refusals are shown."""

import contextlib
import functools
import inspect
import json
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from vedette_cli.commands.exit_codes import ExitCode, exit_code_of
from vedette_cli.commands.listing import Column, facts_lines, print_rows
from vedette_cli.commands.options import DataOption, JsonOption
from vedette_cli.commands.terminal import fail, say
from vedette_cli.rest.client import Query, RestClient, RestError
from vedette_cli.supervisor.control import NotRunningError, StillAtWorkError, ask

TOKEN_VARIABLE = "VEDETTE_TOKEN"  # noqa: S105
MAX_TOKEN_FILE = 4096

ApiOption = Annotated[
    str | None,
    typer.Option(
        "--api", metavar="URL", envvar="VEDETTE_API", help="Where REST is; without it, that of the set on --data."
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="VEDETTE_TOKEN_FILE",
        help=f"A file with a token for REST that only its owner may read; {TOKEN_VARIABLE} goes before it.",
    ),
]
InsteadOption = Annotated[
    str | None,
    typer.Option(
        "--api",
        metavar="URL",
        envvar="VEDETTE_API",
        help="Ask REST there, instead of the database; --database-url goes before it.",
    ),
]
LimitOption = Annotated[int, typer.Option(min=0, help="Stop after so many; 0: show all.")]
UriArgument = Annotated[str, typer.Argument(metavar="URI", help="Like sip:alice@example.com.")]
EventFilter = Annotated[str | None, typer.Option(help="Only this event, like presence or dialog.")]
DomainFilter = Annotated[str | None, typer.Option(help="Only presentities of this domain.")]

Parameters = ParamSpec("Parameters")


@dataclass(frozen=True, slots=True)
class Rest:
    """What a command that asks REST works with."""

    client: RestClient
    as_json: bool

    def rows(
        self, *path: str, columns: Sequence[Column], query: Query | None = None, limit: int, note: str = ""
    ) -> None:
        """Print a list up to `limit` items (0: all), and say on stderr where there are more.

        `note`: what is said of an empty list.
        """
        # one more than wanted tells whether there are more
        found = self.client.items(*path, query=query, limit=limit and limit + 1)
        self.print(found, columns, limit=limit, note=note)

    def print(self, found: Iterable[Any], columns: Sequence[Column], *, limit: int = 0, note: str = "") -> None:
        """Print items as a table, or each as JSON on a line."""
        shown: list[Any] = []
        more = False
        for number, item in enumerate(found, 1):
            if limit and number > limit:
                more = True
                break
            if not self.as_json:
                shown.append(item)
            elif not say(json.dumps(item)):
                return
        if not self.as_json:
            if shown:
                print_rows(shown, columns)
            else:
                say(note or "none")
        if more:
            sys.stderr.write(f"there are more than {limit}: see --limit\n")

    def one(self, facts: Mapping[str, Any], *, leave_out: Iterable[str] = ()) -> None:
        """Print one thing: a fact on a line, or all as one JSON object."""
        if self.as_json:
            say(json.dumps(facts))
            return
        for line in facts_lines({name: value for name, value in facts.items() if name not in set(leave_out)}):
            if not say(line):
                return

    def done(self, facts: Mapping[str, Any] | None, words: str) -> None:
        """Say what was done, in words or as JSON."""
        say(json.dumps(dict(facts or {"done": True})) if self.as_json else words)


def rest_command(
    group: typer.Typer, name: str
) -> Callable[[Callable[Concatenate[Rest, Parameters], None]], Callable[Concatenate[Rest, Parameters], None]]:
    """A decorator: the function becomes the command `name`, with the options of every command that asks REST."""

    def add(work: Callable[Concatenate[Rest, Parameters], None]) -> Callable[Concatenate[Rest, Parameters], None]:
        group.command(name)(asking_rest(work))
        return work

    return add


def asking_rest(work: Callable[Concatenate[Rest, Parameters], None]) -> Callable[..., None]:
    """The function as Typer takes it: without its first argument, with the options of REST behind its own."""
    asked: Callable[..., None] = work

    @functools.wraps(work)
    def command(*, data: Path, api: str | None, token_file: Path | None, as_json: bool, **own: Any) -> None:
        with asking(data, api, token_file, as_json=as_json) as rest:
            asked(rest, **own)

    own = list(inspect.signature(work, eval_str=True).parameters.values())[1:]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        for name, annotation, default in (
            ("data", DataOption, Path(".vedette")),
            ("api", ApiOption, None),
            ("token_file", TokenFileOption, None),
            ("as_json", JsonOption, False),
        )
    ]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + added
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


@contextlib.contextmanager
def asking(data: Path, api: str | None, token_file: Path | None, *, as_json: bool = False) -> Iterator[Rest]:
    """What a command asks REST with; a refusal within is said in one line and ends the command with its code."""
    with connect(data, api, token_file) as client:
        try:
            yield Rest(client, as_json)
        except RestError as error:
            fail(str(error), exit_code_of(error))


def connect(data: Path, api: str | None, token_file: Path | None) -> RestClient:
    """A client of the API that is named, or of the set that runs on the folder; ends the command without either."""
    try:
        return RestClient(find_api(data) if api is None else api, find_token(token_file))
    except ValueError as error:
        fail(f"--api: {error}", ExitCode.USAGE)


def find_api(data: Path) -> str:
    """The address of the set that runs on the folder; ends the command where none does."""
    try:
        answer = ask(data, {"command": "api"})
        if "error" in answer:  # a set of an earlier version
            answer = ask(data, {"command": "status"})
    except (NotRunningError, StillAtWorkError) as error:
        fail(f"{error}, or the address of a REST API with --api", ExitCode.NO_ANSWER)
    if "api" not in answer:
        fail(f"the set on {data} does not say where its REST API is: {answer.get('error')}", ExitCode.NO_ANSWER)
    return str(answer["api"])


def find_token(file: Path | None) -> str | None:
    """The token of the environment, or of the file; None without. Ends the command where a file cannot be used."""
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token and file is not None:
        token = _token_in(file)
    if not token:
        return None
    if not token.isascii() or not token.isprintable() or " " in token:
        fail("the token has characters that no token has", ExitCode.USAGE)
    return token


def _token_in(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if stat.S_ISREG(mode) and mode & 0o077:
                fail(f"--token-file: others may read {file}; chmod 600 {file}", ExitCode.USAGE)
            text = opened.read(MAX_TOKEN_FILE).decode("ascii", "replace").strip()
    except OSError as error:
        fail(f"--token-file: cannot read {file}: {error.strerror}", ExitCode.USAGE)
    if not text:
        fail(f"--token-file: {file} is empty", ExitCode.USAGE)
    return text
