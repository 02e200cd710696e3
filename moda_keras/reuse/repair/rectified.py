"""Least squares behind a ReLU: where it gives zero anyway, a layer need not be exact.

The layer's output p is fitted to a target t so that max(p, c) comes closest to max(t, c), where c
is the value from which the ReLU passes it. In turn, an auxiliary output z between p and t is
chosen row by row, and the kernel is fitted to z.

Source: Zhang et al., Accelerating Very Deep Convolutional Networks for Classification and Detection
(IEEE TPAMI 2016), section 3.2.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from moda_keras.reuse.repair.least_squares import (
    ROWS_AT_ONCE,
    Correction,
    NormalEquations,
    ProductSums,
    Rows,
    all_but,
)

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
    sign, every = rectifier.sign, _UprightRows.of(rows, rectifier)
    held_out = rows.folds == 0
    learnt, tested = every.members(~held_out), every.members(held_out)
    of_learnt = NormalEquations(sums.total(all_but(sums, 0)), intercept=intercept)
    start = _times(of_learnt.solve(linear.ridge), sign)
    if tested.error(_improved(start, learnt, of_learnt)) >= tested.error(start):
        return linear
    of_every = NormalEquations(sums.total(np.arange(len(sums.rows))), intercept=intercept)
    return _times(_improved(_times(linear, sign), every, of_every), sign)


@dataclass(frozen=True, eq=False)
class _UprightRows:
    """Rows with the outputs negated of which the ReLU passes smaller values.

    Attributes:
        x: Inputs, float array (n, D).
        before: What the layer gives now, float array (n, O).
        wanted: What the ReLU should pass, float array (n, O).
        cut: The value from which the ReLU passes it, float array (n, O).
    """

    x: np.ndarray
    before: np.ndarray
    wanted: np.ndarray
    cut: np.ndarray

    @classmethod
    def of(cls, rows: Rows, rectifier: Rectifier) -> "_UprightRows":
        sign = rectifier.sign.astype(rectifier.before.dtype)
        cut = rectifier.cut * sign
        wanted = np.maximum((rectifier.before + rows.y) * sign, cut)
        return cls(rows.x, rectifier.before * sign, wanted, cut)

    def members(self, mask: np.ndarray) -> "_UprightRows":
        return _UprightRows(*(values[mask] for values in vars(self).values()))

    def blocks(self) -> Iterator["_UprightRows"]:
        for start in range(0, len(self.x), ROWS_AT_ONCE):
            yield self.members(slice(start, start + ROWS_AT_ONCE))

    def given(self, correction: Correction) -> np.ndarray:
        """What the corrected layer gives."""
        output = self.x @ correction.kernel.astype(self.x.dtype)
        output += self.before
        output += correction.bias.astype(output.dtype)
        return output

    def error(self, correction: Correction) -> float:
        """The squared error behind the ReLU."""
        missed = (b.wanted - np.maximum(b.given(correction), b.cut) for b in self.blocks())
        return sum(float(np.vdot(each, each)) for each in missed)


def _improved(correction: Correction, rows: _UprightRows, equations: NormalEquations) -> Correction:
    """The correction after all steps of choosing z and fitting to it."""
    ridge, mean = correction.ridge, equations.x_mean
    factor = equations.factor(ridge)
    for pull in PULLS:
        # Of what z lacks, its mean is taken first: rows are multiplied in float32.
        shift = correction.bias + mean @ correction.kernel
        products, total = np.zeros_like(correction.kernel), np.zeros_like(shift)
        for block in rows.blocks():
            lacking = auxiliary_output(block.wanted, block.given(correction), block.cut, pull)
            lacking -= block.before
            lacking -= shift.astype(lacking.dtype)
            products += block.x.T @ lacking
            total += lacking.sum(axis=0, dtype="float64")
        products -= np.outer(mean, total)
        kernel = factor.solve(products) if factor else np.zeros_like(products)
        if equations.has_intercept:
            shift = shift + total / len(rows.x)
        correction = Correction(kernel, shift - mean @ kernel, ridge)
    return correction


def _times(correction: Correction, sign: np.ndarray) -> Correction:
    return Correction(correction.kernel * sign, correction.bias * sign, correction.ridge)


def auxiliary_output(
    wanted: np.ndarray, now: np.ndarray, cut: np.ndarray, pull: float
) -> np.ndarray:
    """The z that minimizes (w - max(z, c))^2 + pull (z - p)^2, for every value.

    Passed by the ReLU, z is the mean of w and p, weighted by 1 and `pull`, or c if that is larger.
    Stopped, it is p. Comparing both costs gives the smallest p from which z is passed.

    Args:
        wanted: w, what the ReLU should pass, float array (n, O), at least c.
        now: p, what the layer gives, float array (n, O).
        cut: c, the value from which the ReLU passes it, float array (n, O), perhaps -inf.
        pull: Positive float.

    Returns:
        Float array (n, O).
    """
    ratio = float(np.sqrt(pull / (1 + pull)))
    is_passed = now >= cut - (wanted - cut) * ((1 - ratio) / ratio)
    passed = np.maximum((wanted + pull * now) / (1 + pull), cut)
    return np.where(is_passed, passed, now)
