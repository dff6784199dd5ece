"""The expressions in the dashboard and in the alerts."""

import json
from typing import Any

import yaml

from tests.rfc_coverage import ROOT

DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "vedette.json"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
PROMETHEUS = ROOT / "deploy" / "prometheus" / "prometheus.yml"


def dashboard() -> dict[str, Any]:
    """The dashboard."""
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def alerts() -> list[dict[str, Any]]:
    """The rules."""
    return [rule for group in read_yaml(ALERTS)["groups"] for rule in group["rules"]]


def read_yaml(path: Any) -> Any:
    """What a YAML file says."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def expressions() -> list[tuple[str, str]]:
    """Where each expression stands, and the expression."""
    panels = [
        (f"panel {panel['title']}", target["expr"].replace("$__rate_interval", "5m"))
        for panel in dashboard()["panels"]
        for target in panel.get("targets", [])
    ]
    return panels + [(f"alert {rule['alert']}", rule["expr"]) for rule in alerts()]
