"""`vedette rules check`: what is wrong in a rules document, and what it would decide."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from vedette.rules.addresses import identity_of
from vedette.rules.decision import Asked, Decision, RuleVerdict, decide, explain
from vedette.rules.document import MAX_OCTETS, RuleSet, Unreadable, read_rules
from vedette.rules.permissions import ALL, EVERYTHING, NOTHING, Handling, Selectors, Sight
from vedette_cli.commands.terminal import fail, say

rules_app = typer.Typer(help="Who may see what: rules documents (RFC 4745, RFC 5025).", no_args_is_help=True)

ANONYMOUS = "anonymous"
_OUTCOMES = {
    Handling.BLOCK: "is blocked",
    Handling.CONFIRM: "waits for confirmation",
    Handling.POLITE_BLOCK: "is politely blocked",
    Handling.ALLOW: "is allowed",
}


@rules_app.callback()
def _group() -> None:
    """Who may see what: rules documents (RFC 4745, RFC 5025)."""


@rules_app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The rules document.")],
    seen_by: Annotated[
        str | None,
        typer.Option(metavar="URI", help=f"Say what it decides for this watcher; {ANONYMOUS}: one without a name."),
    ] = None,
    sphere: Annotated[str | None, typer.Option(help="With --seen-by: the sphere of the presentity.")] = None,
    at: Annotated[
        datetime | None,
        typer.Option(help="With --seen-by: when, in UTC; now without.", formats=["%Y-%m-%dT%H:%M:%S"]),
    ] = None,
    event: Annotated[str, typer.Option(help="With --seen-by: the event package.")] = "presence",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Check a rules document without storing it, and say what it would decide.

    Exit code 2: it cannot be used; 1: something in it has no effect, or not the one that may be meant; 0: neither.
    """
    if seen_by is None and (sphere is not None or at is not None):
        fail("--sphere and --at go with --seen-by", 2)
    watcher = None if seen_by in {None, ANONYMOUS} else seen_by
    if watcher is not None and identity_of(watcher) is None:
        fail(f"--seen-by: {watcher!r} is not a URI; write it like sip:bob@example.com", 2)
    found = read_rules(_octets(file))
    if isinstance(found, Unreadable):
        if as_json:
            say(json.dumps({"file": str(file), "unreadable": _fault(found)}))
            raise typer.Exit(2)
        fail(f"{file}: {found}", 2)
    decision: Decision | None = None
    verdicts: tuple[RuleVerdict, ...] = ()
    if seen_by is not None:
        now = datetime.now(UTC) if at is None else at.replace(tzinfo=UTC)
        # whose rules they are is not known here, and matters to nobody but the presentity itself
        asked = Asked(watcher, "", event, sphere, now)
        decision, verdicts = decide(found, asked, Handling.BLOCK), explain(found, asked, Handling.BLOCK)
    if as_json:
        say(json.dumps(_facts(file, found, decision, verdicts)))
    else:
        for line in _lines(file, found, seen_by, decision, verdicts):
            if not say(line):
                break
    if found.remarks:
        raise typer.Exit(1)


def _octets(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_OCTETS + 1)
    except OSError as error:
        fail(f"cannot read {file}: {error.strerror}", 2)


def _lines(
    file: Path, rules: RuleSet, seen_by: str | None, decision: Decision | None, verdicts: tuple[RuleVerdict, ...]
) -> list[str]:
    count = len(rules.rules)
    lines = [f"{file}: {count} rule{'' if count == 1 else 's'}", *map(str, rules.remarks)]
    if decision is None:
        return lines
    by = ", ".join(decision.matched) or "no rule matches"
    lines.append(f"{seen_by} {_OUTCOMES[decision.handling]}: {by}")
    if decision.handling is Handling.ALLOW:
        lines += [f"  sees {line}" for line in _shown(decision.sight)]
    if decision.until is not None:
        lines.append(f"  until {decision.until.isoformat()}")
    return lines + [
        f"  {verdict.id} (line {rule.line}) {'matches' if verdict.matched else 'does not match'}: {verdict.why}"
        for rule, verdict in zip(rules.rules, verdicts, strict=True)
    ]


def _shown(sight: Sight) -> list[str]:
    if sight == EVERYTHING:
        return ["everything"]
    if sight == NOTHING:
        return ["nothing: no provide-services, provide-persons or provide-devices selects anything"]
    kinds = (("services", sight.services), ("persons", sight.persons), ("devices", sight.devices))
    lines = [f"{name}: {_selected(selectors)}" for name, selectors in kinds if selectors]
    if sight.all_attributes:
        return [*lines, "all of their attributes"]
    attributes = sorted(sight.attributes)
    if sight.user_input:
        attributes.append(f"user-input ({sight.user_input.text})")
    attributes += [f"{{{uri}}}{name}" for uri, name in sorted(sight.unknown)]
    return [*lines, f"of their attributes: {', '.join(attributes) or 'only those that are always shown'}"]


def _selected(selectors: Selectors) -> str:
    if (ALL, "") in selectors:
        return "all"
    return ", ".join(f"{kind} {value}" for kind, value in sorted(selectors))


def _facts(
    file: Path, rules: RuleSet, decision: Decision | None, verdicts: tuple[RuleVerdict, ...]
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "file": str(file),
        "rules": [{"id": rule.id, "line": rule.line} for rule in rules.rules],
        "remarks": [
            {"line": remark.line, "element": remark.element, "text": remark.text} for remark in rules.remarks
        ],
    }
    if decision is not None:
        facts["decision"] = {
            "handling": decision.handling.text,
            "matched": list(decision.matched),
            "sees": decision.sight.key(),
            "until": None if decision.until is None else decision.until.isoformat(),
        }
        facts["verdicts"] = [
            {"id": verdict.id, "matched": verdict.matched, "why": verdict.why} for verdict in verdicts
        ]
    return facts


def _fault(unreadable: Unreadable) -> dict[str, Any]:
    return {"reason": unreadable.reason, "line": unreadable.line, "element": unreadable.element}
