"""Rules of the event packages: which documents speak of a package, and what holds where there is none."""

from typing import Literal, get_args

from vedette.rules.addresses import domain_of, identity_of
from vedette.rules.document import RuleSet
from vedette.rules.permissions import Handling

DialogRule = Literal["same-domain", "allow", "confirm", "block"]
"""Who may watch calls where no rules say so: everybody of the presentity's domain, or a handling for everybody."""
DIALOG_RULES: tuple[str, ...] = get_args(DialogRule)

_AUIDS = {
    "presence": ("pres-rules", "org.openmobilealliance.pres-rules"),
    "dialog": ("org.openxcap.dialog-rules",),
}


def auids_of(event: str) -> tuple[str, ...]:
    """The application usages (RFC 4825) whose documents are a presentity's rules for an event package.

    `presence` has those of RFC 5025 and OMA, `dialog` and `dialog;sla` that of OpenXCAP; every other package, the
    winfo packages among them, has one of its own: `org.vedette.presence.winfo-rules`.
    """
    event = event.partition(";")[0]
    return _AUIDS.get(event, (f"org.vedette.{event}-rules",))


def remarks_on(rules: RuleSet, event: str) -> list[str]:
    """What in a document about an event package has no effect, or another one than may be meant."""
    remarks = [str(remark) for remark in rules.remarks]
    allows = [rule for rule in rules.rules if rule.handling is Handling.ALLOW]
    shows = any(rule.sight.services or rule.sight.persons or rule.sight.devices for rule in rules.rules)
    if event == "presence" and allows and not shows:
        remarks.append(
            f"line {allows[0].line}: allowed watchers see nothing, since no rule here has provide-services, "
            "provide-persons or provide-devices"
        )
    return remarks


def default_for(
    event: str, watcher: str | None, presentity: str, default_rule: Handling, dialog_rule: DialogRule
) -> Handling:
    """How a subscription is handled where the presentity has no rules for the package.

    `watcher` is None where it is not authenticated. Everybody may watch their own state. Of others: `presence` by
    `default_rule`; `dialog` by `dialog_rule`; message summaries and watcher information are blocked, and so is every
    package that is not known here.
    """
    own = None if watcher is None else identity_of(watcher)
    presentity_identity = identity_of(presentity)
    if own is not None and own == presentity_identity:
        return Handling.ALLOW
    event = event.partition(";")[0]
    if event == "presence":
        return default_rule
    if event == "dialog":
        if dialog_rule != "same-domain":
            return Handling.from_text(dialog_rule)
        domain = None if own is None else domain_of(own)
        same = domain is not None and presentity_identity is not None and domain == domain_of(presentity_identity)
        return Handling.ALLOW if same else Handling.BLOCK
    return Handling.BLOCK
