"""Least squares with a ridge that cross-validation chooses, from sums of products alone."""

from dataclasses import dataclass

import numpy as np

# Candidates, in units of the mean square of an input.
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
FOLDS = 4
# Rows that are float64 at a time.
ROWS_AT_ONCE = 4096
# With more inputs than this, one fold alone is held out: a solution costs inputs ** 3.
MANY_INPUTS = 2048


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of what goes into a layer and of what its output lacks.

    Attributes:
        x: Inputs, float array (n, D).
        y: What the output lacks, float array (n, O).
        folds: Int array (n,), the fold of each row.
    """

    x: np.ndarray
    y: np.ndarray
    folds: np.ndarray


class ProductSums:
    """Sums of products of inputs and errors, for each fold of the samples.

    Args:
        inputs: D, the number of inputs of the layer.
        outputs: O, the number of its outputs.
        folds: F, the number of folds.

    Attributes:
        rows: Float64 array (F,), the number of rows.
        x, y: Float64 arrays (F, D) and (F, O), sums of the inputs and of the errors.
        xx, xy: Float64 arrays (F, D, D) and (F, D, O), sums of products.
        yy: Float64 array (F, O), sums of squares of the errors.
    """

    def __init__(self, inputs: int, outputs: int, folds: int):
        self.rows = np.zeros(folds)
        self.x, self.y = np.zeros((folds, inputs)), np.zeros((folds, outputs))
        self.xx = np.zeros((folds, inputs, inputs))
        self.xy = np.zeros((folds, inputs, outputs))
        self.yy = np.zeros((folds, outputs))

    def add(self, fold: int, x: np.ndarray, y: np.ndarray) -> None:
        """Adds rows to a fold.

        Args:
            fold: Index of the fold.
            x: Inputs of the layer, float array (n, D).
            y: What the layer's output lacks, float array (n, O).
        """
        x, y = x.astype("float64", copy=False), y.astype("float64", copy=False)
        self.rows[fold] += len(x)
        self.x[fold] += x.sum(axis=0)
        self.y[fold] += y.sum(axis=0)
        self.xx[fold] += x.T @ x
        self.xy[fold] += x.T @ y
        self.yy[fold] += (y * y).sum(axis=0)

    def total(self, folds: np.ndarray) -> "ProductSums":
        """The sums of several folds as one fold."""
        sums = object.__new__(ProductSums)
        for name, values in vars(self).items():
            setattr(sums, name, values[folds].sum(axis=0, keepdims=True))
        return sums


@dataclass(frozen=True, eq=False)
class Correction:
    """What is added to the weights of a layer.

    Attributes:
        kernel: Float64 array (D, O).
        bias: Float64 array (O,).
        ridge: The ridge, in units of the mean square of an input; infinite if the kernel stays as
            it is, None if the bias does too.
    """

    kernel: np.ndarray
    bias: np.ndarray
    ridge: float | None


def sums_of_rows(rows: "Rows") -> ProductSums:
    """The sums of products of rows, by fold."""
    folds = int(rows.folds.max()) + 1
    sums = ProductSums(rows.x.shape[1], rows.y.shape[1], folds)
    for fold in range(folds):
        members = np.flatnonzero(rows.folds == fold)
        for part in np.array_split(members, max(1, len(members) // ROWS_AT_ONCE)):
            sums.add(fold, rows.x[part], rows.y[part])
    return sums


def find_correction(sums: ProductSums, *, intercept: bool) -> Correction:
    """The correction of a layer that reduces its error most on samples held out.

    It minimizes `||y - x K - b||^2 + ridge ||K||^2` over K, and over b if there is an `intercept`.
    The ridge is the candidate with the smallest error in cross-validation. No correction is one
    of the candidates, and so is a correction of the bias alone.

    Args:
        sums: The sums of products, in at least two folds.
        intercept: Whether the layer's bias can change.

    Returns:
        A `Correction`.
    """
    candidates = [None, *([np.inf] if intercept else []), *reversed(RIDGES)]
    errors = np.zeros(len(candidates))
    for fold in _held_out(sums):
        rest, held_out = sums.total(all_but(sums, fold)), sums.total(np.array([fold]))
        errors += [_error(held_out, solve(rest, ridge, intercept)) for ridge in candidates]
    # The first of equal ones: the smallest change.
    best = candidates[int(np.argmin(errors))]
    return solve(sums.total(np.arange(len(sums.rows))), best, intercept)


def all_but(sums: ProductSums, fold: int) -> np.ndarray:
    """Int array: the other folds."""
    return np.flatnonzero(np.arange(len(sums.rows)) != fold)


def _held_out(sums: ProductSums) -> range:
    return range(1 if sums.x.shape[1] > MANY_INPUTS else len(sums.rows))


def solve(sums: ProductSums, ridge: float | None, intercept: bool) -> Correction:
    """The correction from sums of one fold."""
    (_, inputs, outputs) = sums.xy.shape
    kernel, bias = np.zeros((inputs, outputs)), np.zeros(outputs)
    if ridge is None or not sums.rows[0]:
        return Correction(kernel, bias, None)
    x_mean, y_mean = sums.x[0] / sums.rows[0], sums.y[0] / sums.rows[0]
    if not intercept:
        x_mean, y_mean = np.zeros(inputs), bias
    if np.isfinite(ridge):
        gram = sums.xx[0] - np.outer(sums.x[0], x_mean)
        products = sums.xy[0] - np.outer(x_mean, sums.y[0])
        scale = np.trace(gram) / inputs
        if scale > 0:
            gram[np.diag_indices(inputs)] += ridge * scale
            kernel = np.linalg.solve(gram, products)
    return Correction(kernel, y_mean - x_mean @ kernel, ridge)


def _error(sums: ProductSums, correction: Correction) -> float:
    """The squared error that is left after a correction, summed over rows and outputs."""
    kernel, bias = correction.kernel, correction.bias
    of_kernel = sums.yy[0] - 2 * (kernel * sums.xy[0]).sum(axis=0)
    of_kernel += (kernel * (sums.xx[0] @ kernel)).sum(axis=0)
    remaining = sums.y[0] - sums.x[0] @ kernel
    return float((of_kernel - 2 * bias * remaining + sums.rows[0] * bias**2).sum())
