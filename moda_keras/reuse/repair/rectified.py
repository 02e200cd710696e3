"""Least squares behind a ReLU: where it gives zero anyway, a layer need not be exact.

The layer's output p is fitted to a target t so that max(p, c) comes closest to max(t, c), where c
is the value from which the ReLU passes it. In turn, an auxiliary output z between p and t is
chosen row by row, and the kernel is fitted to z.

Source: Zhang et al., Accelerating Very Deep Convolutional Networks for Classification and Detection
(IEEE TPAMI 2016), section 3.2.
"""

from dataclasses import dataclass

import numpy as np

from moda_keras.reuse.repair.least_squares import Correction, ProductSums, Rows, all_but

# How strongly z is pulled towards p, step by step.
PULLS = (0.1, 0.1, 0.3, 0.3, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Rectifier:
    """The ReLU behind a layer.

    Attributes:
        before: What the layer gives now, float array (n, O).
        cut: The value of the layer's output from which the ReLU passes it, float array (n, O).
        sign: Array (O,) of 1 and -1: whether it passes larger or smaller values.
    """

    before: np.ndarray
    cut: np.ndarray
    sign: np.ndarray


def refine(
    rows: Rows, sums: ProductSums, rectifier: Rectifier, linear: Correction, *, intercept: bool
) -> Correction:
    """Improves a correction for the ReLU behind the layer.

    Args:
        rows: Inputs of the layer and what its output lacks.
        sums: Their sums of products.
        rectifier: The ReLU.
        linear: The correction without it.
        intercept: Whether the bias can change.

    Returns:
        The better of the two on the samples held out.
    """
    if linear.ridge is None or not np.isfinite(linear.ridge):
        return linear
    held_out = rows.folds == 0
    parts = [_part(rows, rectifier, mask) for mask in (~held_out, held_out)]
    start = _Problem(*parts[0], sums.total(all_but(sums, 0)), linear.ridge, intercept)
    before = start.solve(parts[0][0].y)
    if _error(*parts[1], start.improved(before)) >= _error(*parts[1], before):
        return linear
    every = sums.total(np.arange(len(sums.rows)))
    return _Problem(rows, rectifier, every, linear.ridge, intercept).improved(linear)


class _Problem:
    """Rows, their ReLU, and the inverse of the matrix of the normal equations."""

    def __init__(
        self,
        rows: Rows,
        rectifier: Rectifier,
        sums: ProductSums,
        ridge: float,
        intercept: bool,
    ):
        self.rows, self.rectifier, self.ridge = rows, rectifier, ridge
        self.mean = sums.x[0] / sums.rows[0] if intercept else np.zeros(rows.x.shape[1])
        gram = sums.xx[0] - np.outer(sums.x[0], self.mean)
        scale = np.trace(gram) / len(gram)
        gram[np.diag_indices(len(gram))] += ridge * (scale or 1.0)  # inputs may all be constant
        self.inverse = np.linalg.inv(gram)
        self.intercept = intercept

    def solve(self, y: np.ndarray) -> Correction:
        """The correction whose output comes closest to `y`."""
        shift = y.mean(axis=0) if self.intercept else np.zeros(y.shape[1])
        products = self.rows.x.T @ (y - shift).astype("float32")
        kernel = self.inverse @ (products - np.outer(self.mean, (y - shift).sum(axis=0)))
        return Correction(kernel, shift - self.mean @ kernel, self.ridge)

    def improved(self, correction: Correction) -> Correction:
        target = self.rectifier.before + self.rows.y
        for pull in PULLS:
            now = _output(self.rows, self.rectifier, correction)
            auxiliary = auxiliary_output(target, now, self.rectifier, pull)
            correction = self.solve(auxiliary - self.rectifier.before)
        return correction


def _part(rows: Rows, rectifier: Rectifier, mask: np.ndarray) -> tuple[Rows, Rectifier]:
    part = Rows(rows.x[mask], rows.y[mask], rows.folds[mask])
    return part, Rectifier(rectifier.before[mask], rectifier.cut[mask], rectifier.sign)


def _output(rows: Rows, rectifier: Rectifier, correction: Correction) -> np.ndarray:
    change = rows.x @ correction.kernel.astype("float32")
    return rectifier.before + change + correction.bias


def _error(rows: Rows, rectifier: Rectifier, correction: Correction) -> float:
    sign, cut = rectifier.sign, rectifier.cut * rectifier.sign
    target = np.maximum((rectifier.before + rows.y) * sign, cut)
    given = np.maximum(_output(rows, rectifier, correction) * sign, cut)
    return float(((target - given) ** 2).sum())


def auxiliary_output(
    target: np.ndarray, now: np.ndarray, rectifier: Rectifier, pull: float
) -> np.ndarray:
    """The z that minimizes (max(t, c) - max(z, c))^2 + pull (z - p)^2, for every value.

    Args:
        target: t, float array (n, O).
        now: p, what the layer gives, float array (n, O).
        rectifier: The ReLU, which has c. Where its sign is -1, max is min.
        pull: Positive float.

    Returns:
        Float array (n, O).
    """
    sign, cut = rectifier.sign, rectifier.cut * rectifier.sign
    wanted, now = np.maximum(target * sign, cut), now * sign
    passed = np.maximum((wanted + pull * now) / (1 + pull), cut)
    stopped = np.minimum(now, cut)
    cost_passed = (wanted - passed) ** 2 + pull * (passed - now) ** 2
    cost_stopped = (wanted - cut) ** 2 + pull * (stopped - now) ** 2
    return np.where(cost_passed <= cost_stopped, passed, stopped) * sign
