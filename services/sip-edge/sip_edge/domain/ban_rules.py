"""What is held against a source, and from when on it is kept out."""

from dataclasses import dataclass

EXCESS_WEIGHT = 5
"""Offences that a second over the rate counts as."""


@dataclass(frozen=True, slots=True)
class BanRules:
    """As the operator has set them; times in seconds."""

    threshold: int = 0
    """Offences within a minute for which a source is banned; 0: nobody is."""
    first: float = 60.0
    longest: float = 3600.0
    forgeable: float = 0.0
    """How long datagrams of a source are dropped for what anybody can have sent in its name; 0: not at all."""
    wrong_passwords: int = 20
    """Those of a user from a source within a minute, after which he is locked for that source; 0: any number."""
