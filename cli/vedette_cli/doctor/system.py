"""What REST says of the whole system: processes, versions, queues, parameters that leave a door open."""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vedette_cli.doctor.finding import Finding, failure, warning, well

SERVICES = ("sip-edge", "presence-core", "notifier", "api")
SLOW_LOOP = 0.5
"""Seconds that something due had to wait for the event loop."""
BUSY = 0.9
"""Share of one core."""
OLD_CHANGE, VERY_OLD_CHANGE = 5.0, 30.0
"""Seconds that the oldest change may be overdue."""
MANY_UNREACHABLE = 1000


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters in force, by name; a name may have several values."""

    items: Sequence[Mapping[str, Any]]

    def values(self, name: str, service: str | None = None) -> list[str]:
        """The values of a parameter, of one service where one is named."""
        return [
            str(item["value"])
            for item in self.items
            if item["name"] == name and (service is None or service in item["services"])
        ]

    def value(self, name: str, service: str | None = None) -> str:
        """The first value; empty without any."""
        return next(iter(self.values(name, service)), "")

    def by_instance(self, name: str) -> dict[str, str]:
        """The value of a parameter in each process that has it."""
        return {
            str(instance): str(item["value"])
            for item in self.items
            if item["name"] == name
            for instance in item["instances"]
        }


def check_replicas(replicas: Sequence[Mapping[str, Any]], version: str) -> list[Finding]:
    """Whether every service is there and ready, of one version, and not overloaded. `version`: of this command."""
    found: list[Finding] = []
    ready = {replica["service"] for replica in replicas if replica["ready"]}
    found += [
        failure("processes", f"no {service} is ready", f"Start one; the log of {service} says what it waits for.")
        for service in SERVICES
        if service not in ready
    ]
    for replica in replicas:
        name = f"{replica['service']} {replica['instance']} on {replica['host']}"
        load = replica["load"]
        if not replica["ready"]:
            found.append(warning("processes", f"{name} is not ready", "Its log says what it waits for."))
        elif load is None:
            found.append(
                warning("processes", f"{name} does not answer", "Its log, or a network between, has the cause.")
            )
        elif load["lag"] > SLOW_LOOP:
            found.append(
                warning(
                    "load",
                    f"{name} was late by {load['lag']:.1f} s",
                    "Run more of them, or give the machine more cores.",
                )
            )
        elif load["cpu"] > BUSY:
            found.append(warning("load", f"{name} uses {load['cpu']:.0%} of a core", "Run more: vedette scale."))
    if not found:
        found.append(well("processes", f"{len(replicas)} processes are ready"))
    return [*found, _versions(replicas, version)]


def _versions(replicas: Sequence[Mapping[str, Any]], version: str) -> Finding:
    versions = sorted({str(replica["version"]) for replica in replicas})
    if len(versions) > 1:
        return warning(
            "versions",
            f"processes of several versions run: {', '.join(versions)}",
            "Finish the upgrade: replace the old ones (vedette restart), then vedette migrate --phase post.",
        )
    if versions and versions != [version]:
        return warning(
            "versions",
            f"the processes are of {versions[0]}, this command is of {version}",
            "Use the command of that version.",
        )
    return well("versions", f"all processes are of {version}")


def check_queues(queues: Mapping[str, Any]) -> list[Finding]:
    """Whether what is waiting moves."""
    found: list[Finding] = []
    oldest = float(queues["oldest_due"])
    if oldest > OLD_CHANGE:
        found.append(
            (failure if oldest > VERY_OLD_CHANGE else warning)(
                "lag",
                f"the oldest change waits for its NOTIFY since {oldest:.0f} s ({queues['changes_due']} are due)",
                "Run more notifiers (vedette scale notifier=N); look at their logs and at Postgres.",
            )
        )
    if queues["notifies_overtime"]:
        found.append(
            warning(
                "lag",
                f"{queues['notifies_overtime']} NOTIFYs have no answer and their time is over",
                "Look at the logs of the notifiers and at whether the edges that sent them live.",
            )
        )
    for what in ("publications", "subscriptions"):
        overdue = queues[f"{what}_overdue"]
        if overdue:
            found.append(
                warning(
                    "lag",
                    f"{overdue} {what} have expired and were not ended",
                    "The notifiers do that: look at their logs, or run more of them.",
                )
            )
    if queues["watchers_unreachable"] > MANY_UNREACHABLE:
        found.append(
            warning(
                "lag",
                f"{queues['watchers_unreachable']} watchers cannot be reached until they subscribe again",
                "Did an edge end? Clients behind NAT and browsers come back by themselves.",
            )
        )
    return found or [well("lag", f"{queues['changes']} changes wait, the oldest {oldest:.1f} s overdue")]


def check_parameters(parameters: Parameters, silent: Sequence[str]) -> list[Finding]:
    """Whether parameters leave a door open or differ where they must not."""
    found = [*_doors(parameters), *_differences(parameters)]
    if silent:
        found.append(
            warning("parameters", f"{', '.join(silent)} did not say what they run with", "Look at their logs.")
        )
    return found or [well("parameters", "nobody is let in unasked from outside, and processes agree")]


def _doors(parameters: Parameters) -> Iterator[Finding]:
    hosts = [host.strip() for value in parameters.values("sip_host") for host in value.split(",") if host.strip()]
    if parameters.value("sip_published"):
        hosts = parameters.values("sip_published")
    if "none" in parameters.values("auth") and not all(_is_loopback(host) for host in hosts):
        yield failure(
            "parameters",
            "auth=none, and SIP is listened on outside of loopback: anybody may publish and watch as anybody",
            "Set VEDETTE_AUTH=digest (users: vedette user add), or trusted with VEDETTE_TRUSTED_PEERS.",
        )
    api_hosts = (
        parameters.values("api_published") if parameters.value("api_published") else parameters.values("api_host")
    )
    if "none" in parameters.values("api_auth") and not all(_is_loopback(host) for host in api_hosts):
        yield failure(
            "parameters",
            "api_auth=none, and REST is listened on outside of loopback: whoever reaches it may change everything",
            "Set VEDETTE_API_AUTH=token (tokens: vedette token create).",
        )
    for value in parameters.values("trusted_peers"):
        for network in (part.strip() for part in value.split(",") if part.strip()):
            if ipaddress.ip_network(network, strict=False).prefixlen == 0:
                yield failure(
                    "parameters",
                    f"trusted_peers has {network}: everybody is trusted",
                    "Name your proxies alone.",
                )


_MUST_AGREE = ("fallback2db", "pres_htable_size", "subs_htable_size", "sip_uri_match", "to_tag_pref")


def _differences(parameters: Parameters) -> Iterator[Finding]:
    for name in _MUST_AGREE:
        values = sorted(set(parameters.values(name)))
        if len(values) > 1:
            yield failure(
                "parameters",
                f"{name} has several values at once: {', '.join(values)}",
                f"Give all processes the same VEDETTE_{name.upper()}, and restart those that differ.",
            )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
