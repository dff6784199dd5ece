"""Message summaries, application/simple-message-summary (RFC 3842 section 5): how many messages wait for an account.

What is published is read line by line and leniently where deployed systems are lax (line ends, case, spaces); what is
sent is written anew and strictly. The headers of single messages that a summary may end with are not passed on: they
belong only to messages that are new since the last NOTIFY of a subscription (section 3.5), which a body that all
watchers share cannot say.
"""

import re
from typing import NamedTuple

MAX_COUNT = 2**32 - 1
MAX_LINES = 64
"""Counts in one summary; RFC 3458 names seven kinds of messages."""

_TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]++"  # noqa: S105 - the grammar's word
_HEADER = re.compile(rf"(?P<name>{_TOKEN})[ \t]*+:[ \t]*+(?P<value>[^\x00-\x08\x0a-\x1f\x7f]*+)")
_COUNTS = re.compile(
    r"(?P<new>[0-9]++)[ \t]*+/[ \t]*+(?P<old>[0-9]++)"
    r"(?:[ \t]*+\([ \t]*+(?P<urgent>[0-9]++)[ \t]*+/[ \t]*+(?P<old_urgent>[0-9]++)[ \t]*+\))?+",
    re.ASCII,
)
_ACCOUNT = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*+:[!-;=?-~\u0080-\U0010ffff]++")


class Counts(NamedTuple):
    """Messages of one kind."""

    kind: str
    """`Voice-Message`, `Fax-Message` ..."""
    new: int
    old: int
    urgent: tuple[int, int] | None = None
    """Those of the new and of the old ones that are urgent; None where that is not told."""


class Summary(NamedTuple):
    """What waits for an account."""

    waiting: bool
    account: str | None = None
    """The URI of the account, None where it is not named."""
    counts: tuple[Counts, ...] = ()


class SummaryError(ValueError):
    """A body that is no message summary; the text says in which line."""


def read(body: bytes) -> Summary:
    """The summary in a body. Raises SummaryError."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise SummaryError("not UTF-8") from None
    lines = [line.rstrip(" \t") for line in text.replace("\r\n", "\n").split("\n")]
    name, status = _header(lines[0], 1)
    if name.lower() != "messages-waiting":
        raise SummaryError("line 1 is not Messages-Waiting")
    if status.lower() not in {"yes", "no"}:
        raise SummaryError("Messages-Waiting is neither yes nor no")
    account: str | None = None
    counts: list[Counts] = []
    for number, line in enumerate(lines[1:], 2):
        if not line:
            _check_message_headers(lines[number:], number + 1)
            break
        name, value = _header(line, number)
        if name.lower() == "message-account":
            if account is not None or counts:
                raise SummaryError(f"line {number}: Message-Account is not in its place")
            account = value.removeprefix("<").removesuffix(">")
            if not _ACCOUNT.fullmatch(account):
                raise SummaryError(f"line {number}: Message-Account is no URI")
            continue
        counts.append(_counts(name, value, number))
        if len(counts) > MAX_LINES:
            raise SummaryError(f"more than {MAX_LINES} counts")
    return Summary(status.lower() == "yes", account, tuple(counts))


def check(body: bytes) -> str | None:
    """Why the body cannot be published, None where it can."""
    try:
        read(body)
    except SummaryError as error:
        return f"Message summary: {error}"
    return None


def compose(entity: str, summary: Summary) -> bytes:
    """The body that watchers of `entity` get; it names the account, which is `entity` unless the summary says."""
    lines = [
        f"Messages-Waiting: {'yes' if summary.waiting else 'no'}",
        f"Message-Account: {summary.account or entity}",
    ]
    for counts in summary.counts:
        urgent = f" ({counts.urgent[0]}/{counts.urgent[1]})" if counts.urgent is not None else ""
        lines.append(f"{counts.kind}: {counts.new}/{counts.old}{urgent}")
    return "\r\n".join([*lines, ""]).encode()


def _header(line: str, number: int) -> tuple[str, str]:
    match = _HEADER.fullmatch(line)
    if match is None:
        raise SummaryError(f"line {number} is no header")
    return match["name"], match["value"]


def _counts(name: str, value: str, number: int) -> Counts:
    match = _COUNTS.fullmatch(value)
    if match is None:
        raise SummaryError(f"line {number} has no counts")
    urgent = None
    if match["urgent"] is not None:
        urgent = (_count(match["urgent"]), _count(match["old_urgent"]))
    kind = "-".join(part.capitalize() for part in name.split("-"))
    return Counts(kind, _count(match["new"]), _count(match["old"]), urgent)


def _count(digits: str) -> int:
    """The number, MAX_COUNT where it is larger (RFC 3842 section 3.5)."""
    digits = digits.lstrip("0") or "0"
    return MAX_COUNT if len(digits) > len(str(MAX_COUNT)) else min(int(digits), MAX_COUNT)


def _check_message_headers(lines: list[str], first: int) -> None:
    """What follows the empty line: headers of messages, groups of them apart by empty lines."""
    for number, line in enumerate(lines, first):
        if line and not line.startswith((" ", "\t")):
            _header(line, number)
