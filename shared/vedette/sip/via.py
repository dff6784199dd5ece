"""Via (RFC 3261 section 20.42) with `rport` (RFC 3581)."""

import re
from functools import lru_cache
from typing import NamedTuple

from vedette.sip.errors import SipError
from vedette.sip.grammar import HOST, PARAMETER, TOKEN, parse_parameters

COOKIE = "z9hG4bK"
DEFAULT_PORTS = {"UDP": 5060, "TCP": 5060, "SCTP": 5060, "TLS": 5061, "WS": 80, "WSS": 443}

_VIA = re.compile(
    rf"\s*+(?P<name>{TOKEN})\s*+/\s*+(?P<version>{TOKEN})\s*+/\s*+(?P<transport>{TOKEN})\s++"
    rf"(?P<host>{HOST}|(?=[0-9A-Fa-f]*+:[0-9A-Fa-f.]*+:)[0-9A-Fa-f:.]++)"
    r"\s*+(?::\s*+(?P<port>[0-9]{1,5})\s*+)?+",
    re.ASCII,
)
"""Up to the parameters."""
_USUAL = re.compile(rf"(?P<before>;rport)?;branch=(?P<branch>{TOKEN})(?P<after>;rport)?+", re.ASCII)
"""The parameters of nearly every client."""
MAX_CACHED = 64
"""Characters of what stands before the parameters that the cache keeps: strangers choose what it holds."""


class Via(NamedTuple):
    """One Via value; `parameters` have names in lower case; `text` is the value as it was written."""

    text: str
    transport: str
    host: str
    port: int | None
    sent_by: str
    """`host:port` in lower case with the transport's default port filled in (section 17.2.3 compares it)."""
    parameters: dict[str, str | None]

    @property
    def branch(self) -> str:
        """The `branch`, "" where absent."""
        return self.parameters.get("branch") or ""

    @property
    def has_cookie(self) -> bool:
        """Whether the branch is unique as RFC 3261 section 8.1.1.7 has it (the bare cookie is not)."""
        branch = self.branch
        return branch.startswith(COOKIE) and len(branch) > len(COOKIE)

    def with_source(self, host: str, port: int) -> str:
        """The value for a response: `received` (always with rport, else where sent-by differs) and `rport` filled.

        RFC 3261 section 18.2.1, RFC 3581 section 4. `host` is the source address, brackets off.
        """
        asks_rport = "rport" in self.parameters and not self.parameters["rport"]
        if not asks_rport and self.host.strip("[]").lower() == host.lower():
            return self.text
        head, semicolon, rest = self.text.partition(";")

        def of_response(parameter: re.Match[str]) -> str:
            name = parameter["name"].lower()
            if name == "received":
                return ""
            return f";rport={port}" if name == "rport" and asks_rport else parameter.group()

        return f"{head.rstrip()}{PARAMETER.sub(of_response, semicolon + rest)};received={host}"


def parse_via(value: str) -> Via:
    """The one Via in the value; raises SipError for bad grammar or a port out of range."""
    head, semicolon, rest = value.partition(";")
    origin = _origin(head) if len(head) <= MAX_CACHED else _origin.__wrapped__(head)
    return Via(value.strip(), *origin, _parameters(semicolon + rest))


@lru_cache(maxsize=16384)
def _origin(head: str) -> tuple[str, str, int | None, str]:
    """Transport, host, port, and the last two as they are compared."""
    match = _VIA.fullmatch(head)
    if match is None or match["name"].upper() != "SIP" or match["version"] != "2.0":
        raise SipError("Malformed Via")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port <= 65535:
        raise SipError("Port out of range in Via")
    transport, host = match["transport"].upper(), match["host"]
    return transport, host, port, f"{host.lower()}:{port or DEFAULT_PORTS.get(transport, 5060)}"


def _parameters(text: str) -> dict[str, str | None]:
    usual = _USUAL.fullmatch(text)
    if usual is None:
        return parse_parameters(text, "Via")
    before, branch, after = usual.groups()
    if before is None:
        return {"branch": branch} if after is None else {"branch": branch, "rport": None}
    return {"rport": None, "branch": branch} if after is None else parse_parameters(text, "Via")
