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
# Rows of a triangular system that are solved at a time.
BLOCK = 128


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
            total = np.zeros_like(values[:1])
            for fold in folds:
                total += values[fold]
            setattr(sums, name, total)
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
        held_out = sums.total(np.array([fold]))
        equations = NormalEquations(sums.total(all_but(sums, fold)), intercept=intercept)
        errors += [_error(held_out, equations.solve(ridge)) for ridge in candidates]
    # The first of equal ones: the smallest change.
    best = candidates[int(np.argmin(errors))]
    return NormalEquations(sums.total(np.arange(len(sums.rows))), intercept=intercept).solve(best)


def all_but(sums: ProductSums, fold: int) -> np.ndarray:
    """Int array: the other folds."""
    return np.flatnonzero(np.arange(len(sums.rows)) != fold)


def _held_out(sums: ProductSums) -> range:
    return range(1 if sums.x.shape[1] > MANY_INPUTS else len(sums.rows))


class NormalEquations:
    """The equations of least squares, to be solved with several ridges.

    Args:
        sums: Sums of products of one fold.
        intercept: Whether the bias can change.

    Attributes:
        rows: The number of rows.
        has_intercept: As given.
        x_mean, y_mean: Float64 arrays (D,) and (O,), what is subtracted of inputs and of errors;
            zeros without intercept.
    """

    def __init__(self, sums: ProductSums, *, intercept: bool):
        self.rows, self.has_intercept = sums.rows[0], intercept
        divisor = max(self.rows, 1.0) if intercept else np.inf
        self.x_mean, self.y_mean = sums.x[0] / divisor, sums.y[0] / divisor
        self._gram = sums.xx[0] - np.outer(sums.x[0], self.x_mean)
        self._products = sums.xy[0] - np.outer(self.x_mean, sums.y[0])
        self._scale = np.trace(self._gram) / len(self._gram)

    def solve(self, ridge: float | None) -> Correction:
        """The correction of least squares.

        Args:
            ridge: In units of the mean square of an input; infinite for a correction of the bias
                alone, None for no correction.

        Returns:
            A `Correction`. Where the inputs are constant up to rounding, it is of the bias alone.
        """
        kernel = np.zeros_like(self._products)
        if ridge is None or not self.rows:
            return Correction(kernel, np.zeros_like(self.y_mean), None)
        factor = self.factor(ridge) if np.isfinite(ridge) else None
        if factor is not None:
            kernel = factor.solve(self._products)
        return Correction(kernel, self.y_mean - self.x_mean @ kernel, ridge)

    def factor(self, ridge: float) -> "CholeskyFactor | None":
        """The factor of the matrix; None if the inputs are constant up to rounding."""
        if self._scale <= 0:
            return None
        matrix = self._gram.copy()
        matrix[np.diag_indices(len(matrix))] += ridge * self._scale
        try:
            return CholeskyFactor(matrix)
        except np.linalg.LinAlgError:
            return None


class CholeskyFactor:
    """Solves equations of a symmetric positive definite matrix, in half the time of `linalg.solve`.

    NumPy has no solver for triangular matrices. This one goes block by block, with products of
    matrices for nearly all of the work.

    Args:
        matrix: Float64 array (D, D).

    Raises:
        numpy.linalg.LinAlgError: If the matrix is not positive definite.
    """

    def __init__(self, matrix: np.ndarray):
        self._lower = np.linalg.cholesky(matrix)
        starts = range(0, len(matrix), BLOCK)
        self._blocks = [slice(start, start + BLOCK) for start in starts]
        self._inverses = [np.linalg.inv(self._lower[block, block]) for block in self._blocks]

    def solve(self, right: np.ndarray) -> np.ndarray:
        """The X of `matrix @ X = right`, float64 arrays (D, O)."""
        lower, x = self._lower, right.copy()
        for block, inverse in zip(self._blocks, self._inverses, strict=True):
            before = slice(block.start)
            x[block] = inverse @ (x[block] - lower[block, before] @ x[before])
        for block, inverse in zip(reversed(self._blocks), reversed(self._inverses), strict=True):
            behind = slice(block.stop, None)
            x[block] = inverse.T @ (x[block] - lower[behind, block].T @ x[behind])
        return x


def _error(sums: ProductSums, correction: Correction) -> float:
    """The squared error that is left after a correction, summed over rows and outputs."""
    kernel, bias = correction.kernel, correction.bias
    error, remaining = sums.yy[0].sum(), sums.y[0]
    if kernel.any():
        error += np.vdot(kernel, sums.xx[0] @ kernel - 2 * sums.xy[0])
        remaining = remaining - sums.x[0] @ kernel
    return float(error + np.sum(bias * (sums.rows[0] * bias - 2 * remaining)))
