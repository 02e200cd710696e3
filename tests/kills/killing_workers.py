"""Kills sweeps of sub-tasks with two worker processes, and looks at what they leave.

    KERAS_BACKEND=torch python tests/kills/killing_workers.py --kills 12

Each sweep is killed with SIGKILL once a number of its rows is on disk, drawn at random, and a
little later. Its workers must end, nothing may stay in shared memory, and the same sweep, run
again, must write the rows of one that was not killed.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SWEEP = """
import sys
import keras
import numpy as np
import moda_keras as mk
keras.utils.set_random_seed(0)
model = mk.zoo.small_cnn((8, 8, 1))
random = np.random.default_rng(0)
units = {h.name: random.random((10, h.units)) < 0.5 for h in mk.find_hidden_activations(model)}
modules = mk.ModuleSet.from_units(model, units)
x, y = random.random((300, 8, 8, 1)).astype("float32"), np.arange(300) % 10
mk.metrics.sweep_subtasks(modules, x, y, sys.argv[1], n_jobs=2, subtasks_per_job=64)
"""
SHARED_MEMORY = Path("/dev/shm")
# A worker that is killed while it imports the frameworks ends once it has.
PATIENCE = 60


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        expected = rows_of(sweep(Path(folder) / "expected.csv", wait=True))
        wrong = [each for _ in range(arguments.kills) if (each := kill(folder, draw, expected))]
    print(f"{arguments.kills} kills, {len(wrong)} with another result", *wrong, sep="\n")
    sys.exit(bool(wrong))


def kill(folder, draw, expected):
    """Kills a sweep and runs it again; returns what is wrong, or None."""
    path = Path(folder) / "killed.csv"
    for each in (path, path.with_suffix(".json")):
        each.unlink(missing_ok=True)
    in_memory = set(SHARED_MEMORY.glob("*"))
    process = sweep(path, wait=False)
    rows, later = draw.randrange(len(expected) - 64), draw.random() / 10
    while process.poll() is None and len(rows_of(path)) < rows:
        time.sleep(0.02)
    time.sleep(later)
    workers = children_of(process.pid)
    process.kill()
    process.wait()
    found = len(rows_of(path))
    start = time.monotonic()
    while any(is_running(each) for each in workers):
        if time.monotonic() - start > PATIENCE:
            return f"killed at {found} rows, workers still run"
        time.sleep(0.1)
    seconds = time.monotonic() - start
    time.sleep(1)  # joblib's own process frees the memory
    left = set(SHARED_MEMORY.glob("*")) - in_memory
    sweep(path, wait=True)
    print(f"killed at {found} rows; {len(workers)} processes ended in {seconds:.1f} s", flush=True)
    if left:
        return f"killed at {found} rows, left in memory: {sorted(left)}"
    return None if rows_of(path) == expected else f"killed at {found} rows, other rows"


def sweep(path, *, wait):
    command = [sys.executable, "-c", SWEEP, str(path)]
    if wait:
        subprocess.run(command, check=True, capture_output=True)
        return path
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def rows_of(path):
    return sorted(path.read_text().splitlines()) if path.exists() else []


def children_of(pid):
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True
    )
    return [int(each) for each in listed.stdout.split()]


def is_running(pid):
    return Path(f"/proc/{pid}").exists()


if __name__ == "__main__":
    main()
