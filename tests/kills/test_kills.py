"""SIGKILL at the calls that change the disk, with the power cut: the run goes on to its result."""

import os
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from killing import killer
from scenarios import SCENARIOS

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs fork and /proc")
IS_LONG = os.environ.get("MODA_KERAS_NIGHTLY") == "1"
# Kills of each run in the short form: most where most can go wrong.
KILLS = {
    "train": 4, "decompose": 1, "save": 1, "tune": 1, "subtasks": 1, "experiment": 1, "search": 1,
}  # fmt: skip


# One test: every worker of pytest would start a server of its own.
def test_killed_runs_end_as_undisturbed_ones():
    seed = int(os.environ.get("MODA_KERAS_KILL_SEED", 0))
    draw, wrong = random.Random(seed), {}
    with killer() as found:
        for name in SCENARIOS if IS_LONG else KILLS:
            points = range(found.reference(name)["points"])
            kills = 50 if IS_LONG else KILLS[name]
            for point in draw.sample(points, min(kills, len(points))):
                wrong[name, point] = found.kill(name, kill_at=point, seed=point)
            for _ in range(50 if IS_LONG else 0):
                after = draw.random() * found.reference(name)["seconds"]
                wrong[name, after] = found.kill(name, kill_after=after, cuts_power=False)
    bad = {kill: each for kill, each in wrong.items() if each}
    assert not bad, f"MODA_KERAS_KILL_SEED={seed}: {bad}"
