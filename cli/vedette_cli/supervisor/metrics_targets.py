"""Where Prometheus reads the metrics of a set on one machine: a file for its `file_sd_configs`."""

import json
from collections.abc import Iterable
from pathlib import Path

from vedette_cli.supervisor.service import API, CORE, EDGE, NOTIFIER, Service

JOBS = {EDGE.name: "sip-edge", CORE.name: "presence-core", API.name: "api", NOTIFIER.name: "notifier"}
"""As the containers are called: the dashboard and the alerts go by these."""


def write_targets(path: Path, services: Iterable[Service]) -> None:
    """Write down the services that are up, in one step. Raises OSError where that cannot be done."""
    targets = [
        {
            "targets": [service.facts["metrics"]],
            "labels": {"job": JOBS[service.kind.name], "index": str(service.index)},
        }
        for service in services
        if service.facts.get("metrics")
    ]
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(targets, indent=1) + "\n", encoding="ascii")
    temporary.replace(path)
