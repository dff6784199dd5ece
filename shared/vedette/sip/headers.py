"""The header fields of one message, indexed once, parsed only where they are read."""

from collections.abc import Callable

from vedette.sip.errors import SipError

COMPACT_FORMS = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}


class Headers:
    """Header rows by canonical lower-case name (compact forms resolved, RFC 3261 section 7.3.3)."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows: dict[str, list[str]] = {}

    def add(self, name: str, value: str) -> None:
        """Append a row; the name in any case or compact form."""
        key = name.lower()
        self.rows.setdefault(COMPACT_FORMS.get(key, key), []).append(value)

    def all(self, name: str) -> list[str]:
        """Every row of that header in order, [] where there is none."""
        return self.rows.get(name, [])

    def get(self, name: str) -> str | None:
        """The first row, None where the header is absent."""
        rows = self.rows.get(name)
        return rows[0] if rows else None

    def single(self, name: str) -> str | None:
        """The only row, None where absent; SipError where it came twice (RFC 4475 section 3.3.8)."""
        rows = self.rows.get(name)
        if not rows:
            return None
        if len(rows) > 1:
            raise SipError(f"More than one {name.title()} header")
        return rows[0]

    def required(self, name: str) -> str:
        """The only row; SipError where it is absent, empty or came twice."""
        rows = self.rows.get(name)
        if rows is not None and len(rows) == 1 and rows[0]:
            return rows[0]
        self.single(name)
        raise SipError(f"Missing {name.title()} header")


class LateHeaders(Headers):
    """Headers whose rows are read when somebody first asks for one."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], dict[str, list[str]]]) -> None:
        self._read = read  # and `rows` is not there yet

    def __getattr__(self, name: str) -> dict[str, list[str]]:
        """The rows: Python asks for what is not there."""
        if name != "rows":
            raise AttributeError(name)
        self.rows = rows = self._read()
        return rows
