"""A short random round, with a new seed each time: `VEDETTE_SEED=7` plays the one with that seed again."""

import os
import random
import sys
import time

import pytest

from tests.second_look import PromiseBrokenError
from tests.system import chaos
from tests.system.chaos import FAULTS, LONG_FAULTS, Report, choose, play

SECONDS = 75.0


async def test_a_random_round_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("VEDETTE_SEED") or time.time())
    with capsys.disabled():
        sys.stdout.write(f" [chaos: VEDETTE_SEED={seed}] ")
        sys.stdout.flush()
    said: list[str] = []
    report = await play(seed, SECONDS, said.append)
    sys.stdout.write("\n".join([*said, report.as_text()]))
    if report.broken:
        raise PromiseBrokenError("\n".join([f"VEDETTE_SEED={seed}", *report.lost]))
    assert report.lost == [], f"VEDETTE_SEED={seed}"
    assert report.figures.acknowledged > 0
    assert sum(report.faults.values()) > 0


def test_at_most_one_fault_is_done_to_one_server_at_once() -> None:
    names = sorted({**FAULTS, **LONG_FAULTS})
    for seed in range(200):
        chosen = choose(random.Random(seed), names, chaos.MOST_FAULTS)
        assert len(chosen) == len(set(chosen)) == chaos.MOST_FAULTS
        for server in ("postgres", "redis", "vedette"):
            assert sum(name.startswith(server) for name in chosen) <= 1
        assert chosen == choose(random.Random(seed), names, chaos.MOST_FAULTS)


def test_an_empty_report_can_be_printed() -> None:
    assert "lost 0" in Report(7).as_text()
    assert Report(7).as_dict()["seed"] == 7
