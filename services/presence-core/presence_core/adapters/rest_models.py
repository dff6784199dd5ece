"""What the admin REST says, as JSON."""

from datetime import datetime

from pydantic import BaseModel, Field


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


class PresentitySummary(BaseModel):
    """A resource with its state for one event package."""

    uri: str = Field(examples=["sip:alice@example.com"])
    event: str = Field(examples=["presence"])
    version: int
    publications: int
    subscriptions: int


class PublicationView(BaseModel):
    """One publication that is alive."""

    etag: str
    content_type: str
    expires: datetime
    received: datetime
    version: int
    body: str


class PresentityView(PresentitySummary):
    """A presentity in full."""

    publication_list: list[PublicationView]
    document: str = Field(description="What watchers get, composed from the publications.")
    document_type: str


class SubscriptionView(BaseModel):
    """A subscription dialog."""

    id: str = Field(description="The dialog's To-tag.")
    presentity: str
    event: str
    event_id: str
    watcher: str
    status: str = Field(examples=["active"])
    reason: str
    expires: datetime
    created: datetime
    call_id: str
    from_tag: str
    contact: str
    transport: str
    source: str = Field(description="Where the last SUBSCRIBE came from.")
    edge: str
    user_agent: str
    notify_cseq: int = Field(description="CSeq of the last NOTIFY.")
    notify_version: int = Field(description="The presentity's version that the last NOTIFY carried.")
    notify_outstanding: bool
    presentity_version: int


class ReplicaView(BaseModel):
    """One process of one service."""

    service: str
    instance: str
    address: str
    version: str
    pid: int
    host: str
    uptime: float
    seen: float = Field(description="Seconds since it was last seen.")
    ready: bool


class PresentityPage(BaseModel):
    """A page of presentities."""

    items: list[PresentitySummary]
    next: str | None = Field(description="Pass it as `cursor` to get the next page; null on the last one.")


class SubscriptionPage(BaseModel):
    """A page of subscriptions."""

    items: list[SubscriptionView]
    next: str | None


class ReplicaList(BaseModel):
    """All processes seen lately."""

    items: list[ReplicaView]


class Readiness(BaseModel):
    """Whether the whole set works, and what does not."""

    ready: bool
    checks: dict[str, str]
