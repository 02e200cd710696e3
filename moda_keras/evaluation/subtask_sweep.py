"""Measures many sub-tasks with several workers; a run that was killed resumes from its file."""

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from moda_keras.claims import claimed
from moda_keras.evaluation.orphans import exit_with
from moda_keras.evaluation.results_file import ResultsFile
from moda_keras.evaluation.subtask_measurement import COLUMNS, SubtaskMeasurement
from moda_keras.evaluation.subtasks import Subtask, subtasks_of
from moda_keras.files import reading, temporary_folder, write_text
from moda_keras.messages import shortened
from moda_keras.modules.checked_files.json_text import parse_json
from moda_keras.modules.load_modules import load_modules
from moda_keras.modules.module_set import ModuleSet

Progress = Callable[[int, int], Any]


def sweep_subtasks(
    modules: ModuleSet,
    x: Any,
    y: Any,
    path: str | Path,
    *,
    subtasks: Sequence[Subtask] | None = None,
    n_jobs: int | None = 1,
    batch_size: int = 256,
    subtasks_per_job: int = 256,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Measures sub-tasks and writes one row for each to a CSV file.

    Rows are written job by job. A run that was killed resumes with the incomplete jobs and returns
    the same rows as an undisturbed run. Similar sub-tasks are in one job.

    Args:
        modules: The modules.
        x: Test inputs: an array of N samples, or a list or dict of arrays for a model of several
            inputs.
        y: Labels: integers (N,) or (N, 1), one-hot (N, C), or class names.
        path: The CSV file. A JSON file beside it identifies the modules and the data.
        subtasks: Tuples of class indices; by default `subtasks_of` the number of classes.
        n_jobs: Number of worker processes, as in joblib: -1 for one per core, None for the setting
            of the surrounding `joblib.parallel_config`, which may choose a cluster (dask, ray).
            1 does not need joblib.
        batch_size: Number of rows in a batch.
        subtasks_per_job: How many sub-tasks share their computation and are written together.
        progress: Called as `progress(done, total)`, in sub-tasks.

    Returns:
        List of dicts as `SubtaskMeasurement.measure` returns them, in the order of `subtasks`.

    Raises:
        FileInUseError: If another process writes to the file.
        ValueError: If the file has results of other modules or other data.

    Examples:
        ```python
        rows = sweep_subtasks(modules, x_test, y_test, "subtasks.csv", n_jobs=-1)
        with joblib.parallel_config(backend="dask"):
            sweep_subtasks(modules, x_test, y_test, "subtasks.csv", n_jobs=None)
        ```

    Source: MODA (ICSE 2026), section 4.
    """
    measurement = SubtaskMeasurement(modules, x, y, batch_size=batch_size)
    subtasks = subtasks_of(modules.num_classes) if subtasks is None else list(subtasks)
    with claimed(path):
        rows = _sweep(
            measurement, Path(path), _jobs(modules, subtasks, subtasks_per_job), n_jobs, progress
        )
    found = {row["classes"]: row for row in map(_with_classes, rows)}
    return [found[subtask] for subtask in subtasks]


def _sweep(
    measurement: SubtaskMeasurement,
    path: Path,
    jobs: list[list[Subtask]],
    n_jobs: int | None,
    progress: Progress | None,
) -> list[dict[str, Any]]:
    """Measures the jobs that the file does not have, and returns all its rows."""
    digest = _digest(measurement)
    _check_identity(path, digest)
    results = ResultsFile(path, COLUMNS, key=["classes"])
    pending = [job for job in jobs if not all(results.has(classes=each) for each in job)]
    total = sum(map(len, jobs))
    done = total - sum(map(len, pending))
    for rows in _run(measurement, pending, digest, n_jobs):
        results.append(rows)
        done += len(rows)
        if progress:
            progress(done, total)
    return results.rows()


def _with_classes(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "classes": tuple(map(int, str(row["classes"]).split()))}


def _jobs(modules: ModuleSet, subtasks: list[Subtask], size: int) -> list[list[Subtask]]:
    """The sub-tasks, sorted so that neighbours have equal unions in as many layers as possible."""
    if size < 1:
        raise ValueError(
            f"Expected a positive integer `subtasks_per_job`. Received: subtasks_per_job={size}"
        )
    unions = [modules.union(subtask) for subtask in subtasks]
    keys = [tuple(np.packbits(mask).tobytes() for mask in units.values()) for units in unions]
    order = sorted(range(len(subtasks)), key=keys.__getitem__)
    return [[subtasks[i] for i in order[at : at + size]] for at in range(0, len(order), size)]


def _run(
    measurement: SubtaskMeasurement, jobs: list[list[Subtask]], digest: str, n_jobs: int | None
) -> Iterator[list[dict[str, Any]]]:
    if n_jobs == 1 or not jobs:
        yield from map(measurement.measure, jobs)
        return
    joblib = _import_joblib()
    work = _Work(
        digest,
        measurement.batch_size,
        _archive(measurement.modules),
        measurement.x,
        measurement.y,
        os.getpid(),
    )
    calls = [joblib.delayed(_measure)(work, job) for job in jobs]
    try:
        yield from joblib.Parallel(n_jobs, return_as="generator_unordered")(calls)
    except ValueError as error:
        if "return_as" not in str(error):
            raise
        yield from joblib.Parallel(n_jobs)(calls)


def _import_joblib() -> Any:
    try:
        import joblib
    except ImportError as error:
        raise ImportError(
            "Several workers need joblib, which is not installed. Install it with: "
            'pip install "moda-keras[experiments]", or pass n_jobs=1'
        ) from error
    return joblib


@dataclass(frozen=True)
class _Work:
    """What a worker process is given: modules, as the bytes of their file, and data.

    Attributes:
        sender: Number of the process that gives it.
    """

    digest: str
    batch_size: int
    archive: np.ndarray = field(compare=False)
    x: Any = field(compare=False)
    y: np.ndarray = field(compare=False)
    sender: int = field(compare=False)


def _measure(work: _Work, job: list[Subtask]) -> list[dict[str, Any]]:
    """A job, run in a worker process."""
    exit_with(work.sender)
    return _measurement(work).measure(job)


@functools.lru_cache(maxsize=1)
def _measurement(work: _Work) -> SubtaskMeasurement:
    """The measurement, which a worker keeps from job to job: it holds the compiled model."""
    with temporary_folder() as folder:
        path = folder / "modules"
        path.write_bytes(work.archive.tobytes())
        modules = load_modules(path)
    return SubtaskMeasurement(modules, work.x, work.y, batch_size=work.batch_size)


def _archive(modules: ModuleSet) -> np.ndarray:
    """The module file as an array: joblib maps arrays into memory instead of copying them."""
    with temporary_folder() as folder:
        path = folder / "modules"
        modules.save(path)
        return np.frombuffer(path.read_bytes(), np.uint8)


def _digest(measurement: SubtaskMeasurement) -> str:
    """Identifies modules and data."""
    modules, digest = measurement.modules, hashlib.blake2b(digest_size=16)
    weights = [np.asarray(value) for value in modules.model.get_weights()]
    inputs = keras.tree.flatten(measurement.x)
    for array in (*modules.units.values(), *weights, *inputs, measurement.y.astype("int32")):
        if array.dtype == object:  # strings
            array = array.astype(str)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).view("u1"))
    return digest.hexdigest()


def _check_identity(path: Path, digest: str) -> None:
    beside = path.with_suffix(".json")
    if not beside.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(beside, json.dumps({"modules_and_data": digest}))
        return
    with reading(beside, "the digest of the modules and data of a sweep, in JSON"):
        found = parse_json(beside.read_bytes(), "it")["modules_and_data"]
    if found != digest:
        raise ValueError(
            f"Expected results of these modules and data in {str(path)!r}, to resume from. "
            f"Received: results of others (digest {shortened(found, 64)} instead of {digest}). "
            "Choose another path, or remove the file and the JSON file beside it"
        )
