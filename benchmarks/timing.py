"""Timing several ways to do a thing in one run, in turns, so that noise hits all alike."""

import statistics
import time
from collections.abc import Callable


def median_seconds(candidates: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each candidate, in turns.

    Each timed call follows an untimed one of the same candidate: what another one leaves behind
    (threads that spin for a while, memory handed back to the system) is not its cost.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, run in candidates.items():
            run()
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}
