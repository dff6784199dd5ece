"""Fixtures for all tests, and the order of their files where several processes share them."""

import pytest
from hypothesis import HealthCheck, settings

from tests.clusters import _clusters_are_copied
from tests.phone import make_phone, tcp_phone, udp_phone
from tests.running_set import digest_set, observed_set, running_set, strict_set
from tests.second_look import FailuresKept
from tests.servers import database_url, servers

__all__ = [
    "_clusters_are_copied",
    "database_url",
    "digest_set",
    "make_phone",
    "observed_set",
    "running_set",
    "servers",
    "strict_set",
    "tcp_phone",
    "udp_phone",
]

settings.register_profile("searching", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", settings.get_profile("searching"), derandomize=True)
settings.load_profile("steady")
"""The same examples each time: a change is judged by what it does. Others: `--hypothesis-profile=searching`."""

SLOWEST_FIRST = ("system", "conformance", "integration", "unit")


def pytest_configure(config: pytest.Config) -> None:
    """What fails is kept for `tests.second_look`."""
    config.pluginmanager.register(FailuresKept(config))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With workers (`-n 2`) the slow files are begun first: else one of them would be left alone at the end."""
    if hasattr(config, "workerinput"):
        folder = config.rootpath / "tests"
        ranks = {folder / name: rank for rank, name in enumerate(SLOWEST_FIRST)}
        items.sort(key=lambda item: next((ranks[path] for path in item.path.parents if path in ranks), len(ranks)))
