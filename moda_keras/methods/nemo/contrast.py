"""The contrastive loss of NeMo on the vectors of one activation."""

from typing import Any

from keras import ops

from moda_keras.ops import sum_by_class
from moda_keras.ops.backends import backend

# In place of minus infinity, whose gradient would be NaN where it is masked.
NOTHING = -1e30


def contrast(
    vectors: Any,
    ids: Any,
    num_classes: int,
    *,
    temperature: float = 0.2,
    against: str = "samples",
    form: str = "infonce",
) -> Any:
    """How far samples are from telling their own class from the others by their vectors.

    With `s(i, j)` the cosine similarity of samples i and j, and T the temperature,

        own(i) = sum over j of i's class, i included, of exp(s(i, j) / T)
        other(i) = sum over j of the other classes of exp(s(i, j) / T)
        contrast = mean over i of -log(own(i) / (own(i) + other(i)))

    Args:
        vectors: Float tensor (B, D), normalised: of norm 1, or all zero.
        ids: int32 tensor (B,), from `class_ids`. Samples of no class are left out.
        num_classes: C, the number of classes.
        temperature: T, a float > 0.
        against: "samples" compares each sample with each, in O(B^2 D). "classes" compares it with
            the mean vector of each class, which stands for all samples of it, in O(B C D).
        form: "infonce" is the loss above. "released" adds to `own(i)` the number of samples of the
            other classes, and to `other(i)` that of its own, as the authors' code does: there,
            similarities that do not belong to a sum are set to 0 and add exp(0) to it.

    Returns:
        Float scalar; 0 with zero gradient for a batch of no sample, and with `form="infonce"` of
        one class.

    Source: NeMo (arXiv 2508.11348), abstract, and the authors' code.
    """
    counted = ops.cast(ids < num_classes, vectors.dtype)
    if against == "samples":
        columns, column_ids, sizes = vectors, ids, counted
    else:
        columns, sizes = _class_means(vectors, counted, ids, num_classes)
        column_ids = ops.arange(num_classes, dtype="int32")
    scores = backend.matmul(vectors, ops.transpose(columns)) / temperature
    scores = scores + ops.log(ops.maximum(sizes, 1))
    is_own = ops.expand_dims(ids, 1) == ops.expand_dims(column_ids, 0)
    is_present = ops.expand_dims(sizes > 0, 0)
    own = _log_sum(scores, ops.logical_and(is_own, is_present))
    other = _log_sum(scores, ops.logical_and(ops.logical_not(is_own), is_present))
    if form == "released":
        own_size = ops.sum(ops.cast(is_own, sizes.dtype) * sizes, axis=1)
        own = _add_ones(own, ops.sum(sizes) - own_size)
        other = _add_ones(other, own_size)
    losses = ops.where(counted > 0, ops.softplus(other - own), ops.zeros_like(own))
    return ops.sum(losses) / ops.maximum(ops.sum(counted), 1)


def _class_means(vectors: Any, counted: Any, ids: Any, num_classes: int) -> tuple[Any, Any]:
    """The mean vector of each class (C, D), and the number of its samples (C,)."""
    sizes = sum_by_class(ops.expand_dims(counted, 1), ids, num_classes)
    means = sum_by_class(vectors, ids, num_classes) / ops.maximum(sizes, 1)
    return means, sizes[:, 0]


def _log_sum(scores: Any, is_included: Any) -> Any:
    """The logarithm of the sum of exp(scores) over the included columns, (B,)."""
    # `initial` is for batches of no sample, which have no column.
    masked = ops.where(is_included, scores, ops.full_like(scores, NOTHING))
    largest = ops.stop_gradient(ops.max(masked, axis=1, keepdims=True, initial=NOTHING))
    terms = ops.cast(is_included, scores.dtype) * ops.exp(masked - largest)
    total = ops.sum(terms, axis=1)
    is_empty = total == 0
    logarithm = ops.log(ops.where(is_empty, ops.ones_like(total), total))
    return ops.where(is_empty, ops.full_like(total, NOTHING), logarithm + largest[:, 0])


def _add_ones(logarithm: Any, count: Any) -> Any:
    """The logarithm of a sum to which exp(0) is added `count` times."""
    added = ops.where(count > 0, ops.log(ops.maximum(count, 1)), ops.full_like(count, NOTHING))
    return ops.logaddexp(logarithm, added)
