"""What the operator has set, as the decisions need it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """Parameters with OpenSIPS's and Kamailio's names; times in seconds."""

    secret: bytes
    """The cluster secret that request keys are derived with."""
    domains: frozenset[str] = frozenset()
    """Domains served, in lower case; empty: all."""
    min_expires: int = 0
    raise_brief: bool = False
    """`min_expires_action=2`: a lifetime below `min_expires` is raised, not refused."""
    max_expires_publish: int = 3600
    max_expires_subscribe: int = 3600
    max_expires_early: int = 0
    """Of a publication of calls none of which is answered; 0: no limit of its own."""
    expires_offset: int = 0
    cseq_offset: int = 0
    sip_uri_match: bool = False
    mix_dialog_presence: bool = False
    """Whether presence shows calls."""
    max_publications: int = 0
    """Of a presentity and event, at once; 0: no limit, here and below."""
    max_watchers: int = 0
    """Dialogs of a presentity and event, at once."""
    max_subscriptions: int = 0
    """Dialogs of a watcher, at once."""
    min_expires_register: int = 60
    max_expires_register: int = 3600
    default_expires_register: int = 3600
    max_contacts: int = 10
    """Bindings of an address-of-record, at once."""
    waiting_days: int = 3
    """How long a subscription that ended while it was pending waits for a decision."""
    to_tag_pref: str = "10"
    contact_user: str = "presence"
    always_200: bool = False
    """`subs_respond_200=1`: an accepted SUBSCRIBE gets 200, never 202."""
