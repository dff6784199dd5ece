"""What the services say to each other. The version stands in the path; fields are only ever added at the end."""

from typing import Final

import msgspec

from vedette.sip.flow import Flow

PREFIX: Final = "/rpc/v1"
HELLO: Final = f"{PREFIX}/hello"
REQUESTS: Final = f"{PREFIX}/requests"
NOTIFIES: Final = f"{PREFIX}/notifies"
REGISTERS: Final = f"{PREFIX}/registers"
WITHDRAWALS: Final = f"{PREFIX}/withdrawals"
OUTCOMES: Final = f"{PREFIX}/outcomes"
DATAGRAMS: Final = f"{PREFIX}/datagrams"
LEAVING: Final = f"{PREFIX}/leaving"
SUBSCRIBERS: Final = f"{PREFIX}/subscribers"
CLEANUP: Final = f"{PREFIX}/cleanup"
REPORT: Final = f"{PREFIX}/report"
TRACE: Final = f"{PREFIX}/trace"
BANS: Final = f"{PREFIX}/bans"

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError)
"""What decoding raises for octets that are no message; msgspec lets bad UTF-8 through as what it is."""

MAX_BODY: Final = 64 * 1024 * 1024
"""Octets of a call; a longer one is refused with 413, so callers split their batches before."""
BATCH_BODIES: Final = 8 * 1024 * 1024
"""Octets of documents that callers put into one batch, if it has more than one: far from the limit, and no pause."""

DEADLINE_HEADER: Final = "vedette-deadline-ms"
"""How long the caller waits; work that has not begun by then is not begun."""
INSTANCE_HEADER: Final = "vedette-instance"


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """Who a process is; both sides of a hello send one."""

    service: str
    instance: str
    """A new random id for each start of a process: addresses are reused, instances are not."""
    address: str
    """host:port of its RPC server, as others reach it; "" where it has none."""
    version: str
    pid: int
    host: str
    uptime: float
    ready: bool


class PublishCall(msgspec.Struct, array_like=True, frozen=True, tag="P"):
    """A PUBLISH as the edge read it: header values as they came, None where a header is absent."""

    request_uri: str
    call_id: str
    cseq: int
    from_uri: str
    from_tag: str
    to_tag: str
    client_branch: str
    event: str | None
    expires: str | None
    if_match: list[str]
    content_type: str | None
    content_encoding: str | None
    body: bytes
    sender: str | None = None
    """The header that `sender_header` names."""
    publisher: str = ""
    """Address-of-record of who sent it, who may publish for himself; "" where nobody has to prove it."""
    trace: str = ""
    """Names this request in the logs of all services."""


class SubscribeCall(msgspec.Struct, array_like=True, frozen=True, tag="S"):
    """A SUBSCRIBE as the edge read it; `to_value` and `from_value` are the headers without their tags."""

    request_uri: str
    call_id: str
    cseq: int
    from_uri: str
    from_value: str
    from_tag: str
    to_value: str
    to_tag: str
    client_branch: str
    event: str | None
    expires: str | None
    accept: list[str] | None
    contacts: list[str]
    record_route: list[str]
    content_type: str | None
    content_disposition: str | None
    body: bytes
    user_agent: str
    flow: Flow
    local_address: str
    """host:port that a client reaches this edge by on that transport."""
    edge_instance: str
    edge_address: str
    watcher: str = ""
    """Address-of-record of who sent it, proved or asserted by a trusted peer; "": From is taken for it."""
    trace: str = ""
    """Names this request in the logs of all services."""
    tls_address: str = ""
    """host:port that a client reaches this edge by over TLS; "": not at all."""


Call = PublishCall | SubscribeCall


class RequestBatch(msgspec.Struct, array_like=True, frozen=True):
    """Calls in the order of their arrival."""

    calls: list[Call]


class RegisterCall(msgspec.Struct, array_like=True, frozen=True):
    """A REGISTER as the edge read it."""

    request_uri: str
    call_id: str
    cseq: int
    from_tag: str
    to_uri: str
    client_branch: str
    contacts: list[str]
    expires: str | None
    path: list[str]
    user_agent: str
    flow: Flow
    local_address: str
    """host:port that a client reaches this edge by on that transport."""
    edge_instance: str
    edge_address: str
    registrant: str = ""
    """Address-of-record of who sent it, who may register for himself; "" where nobody has to prove it."""
    trace: str = ""
    """Names the request in logs and journals."""

    @property
    def body(self) -> bytes:
        """None is read."""
        return b""


class RegisterBatch(msgspec.Struct, array_like=True, frozen=True):
    """Calls in the order of their arrival; on a path of their own, since an older core knows of none."""

    calls: list[RegisterCall]


class SubscriberQuery(msgspec.Struct, array_like=True, frozen=True):
    """Whose secrets an edge needs: user and realm of each."""

    names: list[tuple[str, str]]


class Ha1s(msgspec.Struct, array_like=True, frozen=True):
    """The secrets of a user, one for each algorithm, in hexadecimal."""

    md5: str
    sha256: str
    sha512t256: str


class SubscriberAnswer(msgspec.Struct, array_like=True, frozen=True):
    """For each name its secrets, None where there is no such user."""

    found: list[Ha1s | None]


class Ban(msgspec.Struct, array_like=True, frozen=True):
    """Who is kept out, and for how long from now on."""

    source: str
    """An IPv4 address or an IPv6 /64."""
    username: str
    """The user, as user@realm, that the source may not try; "": it may send nothing."""
    seconds: float
    strikes: int
    """How often in a row."""
    reason: str = ""
    lifted: bool = False
    """Taken back by hand."""


class BanReport(msgspec.Struct, array_like=True, frozen=True):
    """What an edge has banned; it asks for all that has changed since the time of the last answer."""

    bans: list[Ban]
    since: float


class BanAnswer(msgspec.Struct, array_like=True, frozen=True):
    """What is banned and what was lifted; `now` is Postgres's time, seconds since the epoch."""

    now: float
    bans: list[Ban]


class Reply(msgspec.Struct, array_like=True, frozen=True):
    """What the edge answers. Status UNKNOWN: nobody knows yet what became of it, ask again with the same call."""

    status: int
    reason: str = ""
    to_tag: str = ""
    headers: list[tuple[str, str]] = []


UNKNOWN: Final = 0


class ReplyBatch(msgspec.Struct, array_like=True, frozen=True):
    """One reply for each call, in their order."""

    replies: list[Reply]


class Document(msgspec.Struct, array_like=True, frozen=True):
    """A body that several NOTIFYs of a batch share."""

    content_type: str
    body: bytes
    version_at: int = -1
    """Where in the body each NOTIFY's `version` belongs, as digits; -1: nowhere."""


class NotifyItem(msgspec.Struct, array_like=True, frozen=True):
    """One NOTIFY to send."""

    presentity_hash: int
    dialog_id: bytes
    cseq: int
    document: int
    """Index into the batch's documents; -1: no body."""
    call_id: str
    local: str
    """The From value, tag included."""
    remote: str
    """The To value, tag included where the watcher has one."""
    remote_tag: str
    target: str
    """The watcher's Contact URI."""
    record_route: list[str]
    event: str
    subscription_state: str
    local_contact: str
    flow: Flow
    digest: bytes = b""
    """Of what the NOTIFY shows; comes back with its outcome."""
    version: int = 0
    """The number of the document in its dialog, where the document has a place for it."""
    changed: float = 0.0
    """When the PUBLISH was stored that it brings, by Postgres's time; comes back with its outcome. 0.0: none was."""
    trace: str = ""
    """Names this NOTIFY in the logs of all services; comes back with its outcome."""


HANDOVER_AGE: Final = 5.0
"""Seconds from a claim until an edge takes nothing of it any more, and until another notifier may give it up that
cannot tell whether its notifier is dead."""


class NotifyBatch(msgspec.Struct, array_like=True, frozen=True):
    """NOTIFYs for one edge instance; any other refuses the call."""

    documents: list[Document]
    items: list[NotifyItem]
    id: bytes = b""
    """Names the batch, should its answer be lost; empty: it cannot be withdrawn."""
    until: float = 0.0
    """The edge's uptime after which nothing of it is taken: others may have claimed it by then. 0: no matter when."""


class Withdrawal(msgspec.Struct, array_like=True, frozen=True):
    """A batch whose answer did not come: what of it has not been taken by now must not be taken any more.

    The answer is Taken, and again the same for a copy.
    """

    id: bytes
    items: int
    """How many the batch has."""


class Taken(msgspec.Struct, array_like=True, frozen=True):
    """What the edge says at once: the indexes it cannot take now; the rest end as outcomes."""

    refused: list[int]


class Outcome(msgspec.Struct, array_like=True, frozen=True):
    """How one NOTIFY ended. `status` is the final response, or TIMEOUT, UNREACHABLE or FLOW_GONE."""

    presentity_hash: int
    dialog_id: bytes
    cseq: int
    status: int
    retry_after: int | None = None
    digest: bytes = b""
    """The item's."""
    changed: float = 0.0
    """The item's."""
    trace: str = ""
    """The item's."""
    call_id: str = ""
    """The item's."""


TIMEOUT: Final = 0
UNREACHABLE: Final = -1
FLOW_GONE: Final = -2
"""The connection that the watcher came by is gone, and nobody can connect to it: a browser, a client behind NAT."""


class OutcomeBatch(msgspec.Struct, array_like=True, frozen=True):
    """Outcomes in the order they happened."""

    outcomes: list[Outcome]


class ForeignDatagram(msgspec.Struct, array_like=True, frozen=True):
    """A response that the kernel gave to the wrong one of several edges that share a port."""

    data: bytes
    source: Flow


class DatagramBatch(msgspec.Struct, array_like=True, frozen=True):
    """Datagrams for their owner."""

    datagrams: list[ForeignDatagram]


class Leaving(msgspec.Struct, array_like=True, frozen=True):
    """An edge is about to end, and asks a notifier to give its UDP dialogs to others."""

    instance: str
    address: str
    gone: bool
    """False: it serves for a moment yet, and only dialogs with nothing outstanding are moved; True: its sockets are
    closed, and whatever is left goes."""


class Left(msgspec.Struct, array_like=True, frozen=True):
    """How many UDP dialogs are still with the edge, waiting for an answer; 0 where no other edge could take any."""

    dialogs: int


class Cleaned(msgspec.Struct, array_like=True, frozen=True):
    """What a notifier that was asked to clean up at once has found."""

    ended: int
    """Publications and dialogs whose time was over."""
    removed: int
    """Tombstones that nobody needs any more."""


class Load(msgspec.Struct, array_like=True, frozen=True):
    """How busy a process was within the last seconds."""

    cpu: float
    """Share of one core."""
    lag: float
    """Seconds: the longest that the loop kept something waiting that was due."""
    memory: int
    """Octets in memory."""


class Setting(msgspec.Struct, array_like=True, frozen=True):
    """A parameter in force; secrets are masked."""

    name: str
    value: str
    source: str
    """default, environment or file."""


class Report(msgspec.Struct, array_like=True, frozen=True):
    """What a process says of itself when it is asked."""

    load: Load
    settings: list[Setting]


class TraceQuery(msgspec.Struct, array_like=True, frozen=True):
    """Asks a process what it knows of a Call-ID."""

    call_id: str


class TraceEvent(msgspec.Struct, array_like=True, frozen=True):
    """Something that happened to a request."""

    at: float
    """By the clock of the host, seconds since the epoch."""
    what: str
    call_id: str
    trace: str
    detail: str
    dialog: str
    """Text that ends with our tag of its dialog; "": none is known."""


class TraceAnswer(msgspec.Struct, array_like=True, frozen=True):
    """What a process knows of a Call-ID, in order."""

    events: list[TraceEvent]
