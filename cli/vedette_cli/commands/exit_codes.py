"""What the exit code of a command says."""

from enum import IntEnum

from vedette_cli.rest.client import RefusedError, RestError


class ExitCode(IntEnum):
    """What a command ends with."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    NO_ANSWER = 3
    NOT_ALLOWED = 4


MEANINGS = {
    ExitCode.DONE: "it was done",
    ExitCode.REFUSED: "it was not done: there is no such thing, or the server, the set or the database said no; "
    "with `status`: a process is not ready; with `doctor`, `config check` and `rules check`: there is a warning",
    ExitCode.USAGE: "the command line is wrong, or a value in it; with `doctor`, `config check` and `rules check`: "
    "there is a failure",
    ExitCode.NO_ANSWER: "REST does not answer, or says that a part behind it does not (no set runs, wrong address, "
    "Postgres away)",
    ExitCode.NOT_ALLOWED: "REST asks for a token, or for one with another role or domain",
}

_WRONG_VALUE = frozenset({400, 413, 415, 422})
_NOT_ALLOWED = frozenset({401, 403, 421, 429})


def exit_code_of(error: RestError) -> ExitCode:
    """What a command ends with after this error."""
    if not isinstance(error, RefusedError) or error.status >= 500:
        return ExitCode.NO_ANSWER
    if error.status in _NOT_ALLOWED:
        return ExitCode.NOT_ALLOWED
    return ExitCode.USAGE if error.status in _WRONG_VALUE else ExitCode.REFUSED
