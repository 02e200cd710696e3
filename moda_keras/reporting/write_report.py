"""Writes a report on modules as one self-contained HTML file."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from moda_keras.diagnosis import gather_evidence
from moda_keras.evaluation import why_not_staged
from moda_keras.evaluation.samples import check_samples
from moda_keras.files import write_text
from moda_keras.modules.checks import check_modules
from moda_keras.modules.module_set import ModuleSet
from moda_keras.observing.labelled_arrays import refuse_dataset, take_samples
from moda_keras.reporting.report_data import gather
from moda_keras.training.moda_loss import MODALoss
from moda_keras.tuning import threshold_curve
from moda_keras.tuning.thresholds import check_thresholds

# Test samples used at most, to bound the time and the size of the page.
MAX_SAMPLES = 2000
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0)


def write_report(
    modules: ModuleSet,
    path: str | Path,
    *,
    x_test: Any = None,
    y_test: Any = None,
    title: str | None = None,
    subtask_rows: Sequence[Mapping[str, Any]] | str | Path | None = None,
    history: Any = None,
    thresholds: Iterable[float] | None = None,
    modular_loss: MODALoss | None = None,
    max_samples: int = MAX_SAMPLES,
    seed: int = 0,
) -> Path:
    """Writes a report: a diagnosis, figures and drawings of the modules, and their compositions.

    The page is one self-contained file. Ticking classes shows parameters, multiply-accumulates and
    expected accuracy of the model composed of them. Without test data the page leaves out
    accuracies.

    The page takes about a minute for a large network, mostly for planning compositions: all subsets
    of up to ten classes, unless that takes more than
    `composition_costs.MAX_PLANNED_STEPS` steps of its graph.

    Args:
        modules: The modules.
        path: The file. An existing one is replaced; missing folders are created.
        x_test: Test inputs, an array of N samples, or a list or dict of arrays.
        y_test: Labels: integers (N,), one-hot (N, C) or class names (N,).
        title: Heading; by default one with the model's name.
        subtask_rows: What `mk.metrics.sweep_subtasks` returned, or the path of its file. The page
            shows these accuracies instead of estimates. By default a sample of sub-tasks is
            measured.
        history: What `fit` with a `modular_loss` returned, its `history` dict, or the path of a
            file that `keras.callbacks.CSVLogger` wrote.
        thresholds: Values of tau of the curve; none for no curve. By default twelve from 0.1 to 1,
            unless the model cannot be cut at its activations (`mk.metrics.why_not_staged`): the
            curve would then need many composed models.
        modular_loss: As for `moda_keras.diagnosis.diagnose`.
        max_samples: Test samples to use at most, drawn at random.
        seed: Seed of everything that is drawn at random.

    Returns:
        The path.

    Raises:
        ImportError: If jinja2 or matplotlib is not installed.
        ValueError: If an argument is invalid.

    Examples:
        ```python
        modules = mk.decompose(model, x_train, y_train)
        mk.report.write_report(modules, "report.html", x_test=x_test, y_test=y_test)
        ```
    """
    from moda_keras.reporting.page import render

    check_modules(modules)
    if not isinstance(max_samples, Integral) or max_samples < 1:
        raise ValueError(
            "Expected `max_samples` to be a whole number of at least 1. Received: "
            f"max_samples={max_samples!r}"
        )
    refuse_dataset(x_test, "x_test")
    thresholds = None if thresholds is None else check_thresholds(thresholds)
    available = 0
    if x_test is not None and y_test is not None:
        x_test, y_test = check_samples(modules, x_test, y_test)
        available = len(y_test)
        x_test, y_test = _sample(x_test, y_test, max_samples, seed)
    evidence = gather_evidence(
        modules,
        x_test,
        y_test,
        history=history,
        subtask_rows=subtask_rows,
        modular_loss=modular_loss,
        seed=seed,
    )
    curve = _curve(modules, x_test, y_test, thresholds, seed)
    page = render(gather(evidence, title, available, curve, seed))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, page)
    return path


def _sample(x: Any, y: np.ndarray, number: int, seed: int) -> tuple[Any, np.ndarray]:
    if len(y) <= number:
        return x, y
    rows = np.sort(np.random.default_rng(seed).permutation(len(y))[:number])
    return take_samples(x, rows), y[rows]


def _curve(
    modules: ModuleSet, x: Any, y: Any, thresholds: Iterable[float] | None, seed: int
) -> list[dict[str, Any]]:
    if x is None or modules.threshold is None:
        return []
    if thresholds is None:
        thresholds = () if why_not_staged(modules) else THRESHOLDS
    thresholds = sorted(set(thresholds))
    classes = modules.classes_with_modules()
    if not thresholds or len(classes) < 2 or not np.isin(classes, y).all():
        return []
    return threshold_curve(modules, x, y, thresholds, seed=seed)
