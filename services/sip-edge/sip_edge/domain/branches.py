"""Branches that name the process they belong to.

Several edge processes may share one port; the kernel gives a response to any of them, and the branch tells whose
transaction it is.
"""

from vedette.sip.via import COOKIE


def make_branch(instance: str, number: int) -> str:
    """A branch of the process `instance`; `number` is never used twice by one process."""
    return f"{COOKIE}{instance}.{number:x}"


def owner_of(branch: str) -> str | None:
    """The instance that made the branch, None for a branch that no edge made."""
    instance, dot, number = branch.removeprefix(COOKIE).partition(".")
    return instance if instance and dot and number and branch.startswith(COOKIE) else None
