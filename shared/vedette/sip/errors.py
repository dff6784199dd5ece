"""What is wrong with a SIP message, and the status code that says so to its sender."""


class SipError(ValueError):
    """A message or value that breaks its grammar.

    `status` is the response code a server may use (RFC 3261 section 21); the text names the field at fault and
    never quotes the sender's bytes, so it can stand in a reason phrase.
    """

    def __init__(self, reason: str, *, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class NotSipError(SipError):
    """Bytes that are no SIP message at all: nothing can be answered."""
