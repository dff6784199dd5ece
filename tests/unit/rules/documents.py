"""Rules documents of the tests, written short."""

from datetime import UTC, datetime

from vedette.rules.conditions import Asked
from vedette.rules.decision import Decision, Handling, decide
from vedette.rules.document import COMMON_POLICY, OMA_COMMON_POLICY, OMA_PRES_RULES, PRES_RULES, RuleSet, read_rules

ALICE = "sip:alice@example.com"
BOB = "sip:bob@example.com"
NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)

ALL_COMPONENTS = (
    "<pr:provide-services><pr:all-services/></pr:provide-services>"
    "<pr:provide-persons><pr:all-persons/></pr:provide-persons>"
    "<pr:provide-devices><pr:all-devices/></pr:provide-devices>"
)


def ruleset(*rules: str) -> bytes:
    """A document with these rules; common policy is the default namespace, pr, ocp and op have their prefixes."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ruleset xmlns="{COMMON_POLICY}" xmlns:pr="{PRES_RULES}" '
        f'xmlns:ocp="{OMA_COMMON_POLICY}" xmlns:op="{OMA_PRES_RULES}">\n' + "\n".join(rules) + "\n</ruleset>"
    ).encode()


def rule(name: str, conditions: str | None = None, handling: str | None = None, shows: str | None = None) -> str:
    """A rule; None leaves the element out."""
    return (
        f'<rule id="{name}">'
        + ("" if conditions is None else f"<conditions>{conditions}</conditions>")
        + ("" if handling is None else f"<actions><pr:sub-handling>{handling}</pr:sub-handling></actions>")
        + ("" if shows is None else f"<transformations>{shows}</transformations>")
        + "</rule>"
    )


def identity(*children: str) -> str:
    """An identity condition."""
    return f"<identity>{''.join(children)}</identity>"


def one(uri: str) -> str:
    """An identity condition that names one watcher."""
    return identity(f'<one id="{uri}"/>')


def read(*rules: str) -> RuleSet:
    """The rules of a document that can be read."""
    found = read_rules(ruleset(*rules))
    assert isinstance(found, RuleSet), found
    return found


def asked(
    watcher: str | None = BOB, *, sphere: str | None = None, now: datetime = NOON, event: str = "presence"
) -> Asked:
    """The question about Alice."""
    return Asked(watcher, ALICE, event, sphere, now)


def decided(
    rules: RuleSet, watcher: str | None = BOB, *, sphere: str | None = None, now: datetime = NOON
) -> Decision:
    """The decision about Alice's presence, where no document would allow."""
    return decide(rules, asked(watcher, sphere=sphere, now=now), Handling.ALLOW)


def matches(conditions: str | None, watcher: str | None = BOB, *, sphere: str | None = None) -> bool:
    """Whether a rule with these conditions matches."""
    return decided(read(rule("r", conditions, "allow")), watcher, sphere=sphere).matched == ("r",)
