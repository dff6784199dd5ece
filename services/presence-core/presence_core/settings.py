"""Parameters of presence-core."""

import ipaddress
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from presence_core.adapters.webhook_sender import WebhookLimits
from presence_core.domain.policy import Policy
from vedette.runtime.addresses import IpAddress, IpAddressOrNone, PeerListOrNone
from vedette.runtime.parameters import About
from vedette.runtime.settings import Port, StoreSettings, Switch, whole_number

Seconds = Annotated[int, Field(ge=0, le=2**31 - 1), About("seconds")]
Publications = Annotated[int, Field(ge=0, le=2**31 - 1), About("publications")]
Dialogs = Annotated[int, Field(ge=0, le=2**31 - 1), About("dialogs")]


class CoreSettings(StoreSettings):
    """Names as OpenSIPS's and Kamailio's presence modules have them."""

    role: Literal["core", "api"] = Field("core", description="core: serves the edges; api: serves REST.")
    domains: Annotated[str, About(allowed="domain names separated by commas")] = Field(
        "", description="Domains served, separated by commas; empty: all. Others get 404."
    )
    min_expires: Seconds = Field(
        0,
        description="A shorter PUBLISH or SUBSCRIBE gets 423 with Min-Expires. 0: none is too short.",
    )
    max_expires: Annotated[int, Field(ge=1, le=2**31 - 1), About("seconds")] = Field(
        3600, description="A longer PUBLISH or SUBSCRIBE is granted this much."
    )
    max_expires_publish: Seconds = Field(0, description="max_expires for PUBLISH alone. 0: max_expires.")
    max_expires_early: Seconds = Field(
        180,
        description="max_expires for a PUBLISH that shows only calls that are being set up (event dialog): the lamp "
        "of a phone that has fallen silent while it rang goes out. 0: max_expires_publish.",
    )
    max_expires_subscribe: Seconds = Field(0, description="max_expires for SUBSCRIBE alone. 0: max_expires.")
    min_expires_action: Annotated[Literal[1, 2], BeforeValidator(whole_number)] = Field(
        1, description="What becomes of a lifetime below min_expires. 1: 423 with Min-Expires; 2: it is raised."
    )
    cseq_offset: Annotated[int, Field(ge=0, le=1_000_000), About("requests")] = Field(
        0, description="By how much the CSeq of a SUBSCRIBE may be below the one that its dialog expects."
    )
    max_publications: Publications = Field(
        100, description="Publications that a presentity may have at once, for each event; more get 403. 0: no limit."
    )
    max_watchers: Dialogs = Field(
        50_000, description="Dialogs that a presentity may have at once, for each event; more get 403. 0: no limit."
    )
    max_subscriptions: Dialogs = Field(
        10_000,
        description="Dialogs that a watcher may have at once; more get 403. 0: no limit. A limit above 4096, or with "
        "fallback2db=0, may be exceeded by those that are made at the same moment.",
    )
    min_expires_register: Seconds = Field(
        60, description="A REGISTER for less gets 423 with Min-Expires (registrar=on). 0: none is too short."
    )
    max_expires_register: Annotated[int, Field(ge=1, le=2**31 - 1), About("seconds")] = Field(
        3600, description="A REGISTER for more is granted this much."
    )
    default_expires_register: Annotated[int, Field(ge=1, le=2**31 - 1), About("seconds")] = Field(
        3600, description="What a REGISTER is granted that asks for no time; max_expires_register at most."
    )
    max_contacts: Annotated[int, Field(ge=0, le=1000), About("contacts")] = Field(
        10, description="Contacts that a user may have registered at once; more get 403. 0: no limit."
    )
    to_tag_pref: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9\-!%*_+`'~]{0,32}$"),
        About(allowed="up to 32 letters, digits and -!%*_+`'~ (no dot)"),
    ] = Field("10", description="First part of the To-tags of dialogs; empty: none.")
    contact_user: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9\-_.!~*'()&=+$]{1,64}$"),
        About(allowed="1 to 64 letters, digits and -_.!~*'()&=+$"),
    ] = Field("presence", description="User part of our Contact, before the presentity's hash.")
    subs_respond_200: Switch = Field(
        0, description="0: SUBSCRIBE for watcher information gets 202, as the original has it; 1: always 200."
    )
    db_batch: Annotated[int, Field(ge=1, le=1000), About("requests")] = Field(
        256, description="Requests in one database call."
    )
    db_calls: Annotated[int, Field(ge=1, le=16), About("calls")] = Field(
        2, description="Database calls under way at once, for PUBLISH and for SUBSCRIBE each."
    )
    queue_size: Annotated[int, Field(ge=1, le=1_000_000), About("requests")] = Field(
        8192, description="Requests that may wait for the database; more get 503."
    )
    api_host: IpAddress = Field("127.0.0.1", description="Address the admin REST listens on (role api).")
    api_port: Port = Field(8080, description="Port of the admin REST (role api).")
    api_published: IpAddressOrNone = Field(
        "",
        description="For an api in a container: the address of the machine that its port is published on. Loopback "
        "there counts for api_auth as loopback here does. Empty: nothing stands between.",
    )
    api_auth: Literal["", "none", "token"] = Field(
        "",
        description="Who may use REST (role api). token: whoever has one of `vedette token create`. none: whoever "
        "reaches it may do everything. Empty: none where it is on loopback only, else token.",
    )
    api_max_body_size: Annotated[int, Field(ge=1024, le=16 * 2**20), About("octets")] = Field(
        256 * 1024, description="The longest body that REST takes (role api); a longer one gets 413."
    )
    api_audit_days: Annotated[int, Field(ge=0, le=36500), About("days")] = Field(
        90, description="How long the audit log of REST is kept (role api). 0: for ever."
    )
    api_live_readers: Annotated[int, Field(ge=0, le=10_000), About("readers")] = Field(
        50, description="Readers of live events at once (role api); more get 429."
    )
    api_live_queue: Annotated[int, Field(ge=10, le=1_000_000), About("events")] = Field(
        2000, description="Live events that may wait for a reader (role api); one that is slower is dropped."
    )
    api_live_buffer: Annotated[int, Field(ge=0, le=1_000_000), About("events")] = Field(
        10_000, description="Live events that are kept for readers who come back with Last-Event-ID (role api)."
    )
    api_webhook_timeout: Annotated[int, Field(ge=1, le=60), About("seconds")] = Field(
        10, description="How long a webhook may take to answer (role api)."
    )
    api_webhook_attempts: Annotated[int, Field(ge=1, le=100), About("attempts")] = Field(
        8, description="How often a delivery to a webhook is tried before it is a dead letter (role api)."
    )
    api_webhook_pause: Annotated[int, Field(ge=1, le=3600), About("seconds")] = Field(
        5,
        description="The pause after the first try of a delivery to a webhook, half of it more or less; each more "
        "doubles it (role api).",
    )
    api_webhook_max_waiting: Annotated[int, Field(ge=10, le=1_000_000), About("deliveries")] = Field(
        10_000,
        description="Deliveries that may wait for a webhook, and dead letters that are kept, each (role api); counts "
        "for webhooks made from then on. The oldest beyond it become dead letters.",
    )
    api_webhook_private_targets: Switch = Field(
        0, description="1: webhooks may lead to this machine and into private networks (role api)."
    )
    core_peers: PeerListOrNone = Field("", description="Where the api finds presence-core: host:port, ... or @file.")

    def api_is_open(self) -> bool:
        """Whether REST asks for no token."""
        loopback = ipaddress.ip_address(self.api_published or self.api_host).is_loopback
        return (self.api_auth or ("none" if loopback else "token")) == "none"

    @field_validator("domains")
    @classmethod
    def _no_empty_domain(cls, value: str) -> str:
        if any(not part.strip() or " " in part.strip() for part in value.split(",")) and value:
            raise ValueError("is not a list of domain names separated by commas")
        return value

    def webhook_limits(self) -> WebhookLimits:
        """How webhooks are called."""
        return WebhookLimits(
            self.api_webhook_timeout,
            self.api_webhook_attempts,
            self.api_webhook_pause,
            bool(self.api_webhook_private_targets),
        )

    def policy(self, secret: bytes) -> Policy:
        """The parameters as the decisions need them."""
        return Policy(
            secret=secret,
            domains=frozenset(part.strip().lower() for part in self.domains.split(",") if part.strip()),
            min_expires=self.min_expires,
            raise_brief=self.min_expires_action == 2,
            max_expires_publish=self.max_expires_publish or self.max_expires,
            max_expires_subscribe=self.max_expires_subscribe or self.max_expires,
            max_expires_early=self.max_expires_early,
            expires_offset=self.expires_offset,
            cseq_offset=self.cseq_offset,
            sip_uri_match=bool(self.sip_uri_match),
            mix_dialog_presence=bool(self.mix_dialog_presence),
            max_publications=self.max_publications,
            max_watchers=self.max_watchers,
            max_subscriptions=self.max_subscriptions,
            min_expires_register=self.min_expires_register,
            max_expires_register=self.max_expires_register,
            default_expires_register=self.default_expires_register,
            max_contacts=self.max_contacts,
            waiting_days=self.waiting_subs_daysno,
            to_tag_pref=self.to_tag_pref,
            contact_user=self.contact_user,
            always_200=bool(self.subs_respond_200),
        )
