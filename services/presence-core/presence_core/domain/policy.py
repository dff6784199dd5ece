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
    max_expires: int = 3600
    to_tag_pref: str = "10"
    contact_user: str = "presence"
