"""The equations of the MODA paper, written out with loops over pairs, in float64."""

from itertools import combinations

import numpy as np


def activation_vectors(activations, axis=-1):
    """Mean magnitude of every unit over the positions of a map, (B, D)."""
    by_unit = np.moveaxis(np.asarray(activations, dtype="float64"), axis, 1)
    return [[float(np.mean(np.abs(unit))) for unit in sample] for sample in by_unit]


def norm(vector):
    return sum(element * element for element in vector) ** 0.5


def cosine(first, second):
    product = norm(first) * norm(second)
    if product == 0:
        return 0.0
    return sum(a * b for a, b in zip(first, second, strict=True)) / product


def members(labels, num_classes, sample_weight=None):
    """The samples of each class; those of weight 0 are in none."""
    weights = [1.0] * len(labels) if sample_weight is None else sample_weight
    return [
        [i for i, label in enumerate(labels) if label == c and weights[i] != 0]
        for c in range(num_classes)
    ]


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else None


def within(vectors, samples):
    return [cosine(vectors[i], vectors[j]) for i, j in combinations(samples, 2)]


def between(vectors, samples, others):
    return [cosine(vectors[i], vectors[j]) for i in samples for j in others]


def affinity(vectors, classes, averaging):
    per_class = [within(vectors, samples) for samples in classes]
    if averaging == "pair":
        similarity = mean(s for pairs in per_class for s in pairs)
    else:
        similarity = mean(mean(pairs) for pairs in per_class if pairs)
    return 0.0 if similarity is None else 1 - similarity


def dispersion(vectors, classes, averaging):
    per_pair = [between(vectors, a, b) for a, b in combinations(classes, 2)]
    if averaging == "pair":
        similarity = mean(s for pairs in per_pair for s in pairs)
    else:
        similarity = mean(mean(pairs) for pairs in per_pair if pairs)
    return 0.0 if similarity is None else similarity


def compactness(vectors, classes, averaging, form):
    per_class = [[sum(vectors[i]) for i in samples] for samples in classes]
    if averaging == "pair":
        length = mean(v for norms in per_class for v in norms)
    else:
        length = mean(mean(norms) for norms in per_class if norms)
    if length is None:
        return 0.0
    return length / len(vectors[0]) if form == "unit" else length


def objectives(
    activations,
    labels,
    num_classes,
    *,
    sample_weight=None,
    axes=None,
    averaging="class",
    form="unit",
):
    """Affinity, dispersion and compactness, each averaged over the activations."""
    classes = members(labels, num_classes, sample_weight)
    axes = axes or [-1] * len(activations)
    layers = [activation_vectors(a, axis) for a, axis in zip(activations, axes, strict=True)]
    return {
        "affinity": mean(affinity(y, classes, averaging) for y in layers),
        "dispersion": mean(dispersion(y, classes, averaging) for y in layers),
        "compactness": mean(compactness(y, classes, averaging, form) for y in layers),
    }


def class_similarity(activations, labels, num_classes, *, sample_weight=None, axis=-1):
    """Mean cosine over distinct pairs, (C, C); 0 where there is no pair."""
    vectors = activation_vectors(activations, axis)
    classes = members(labels, num_classes, sample_weight)
    matrix = np.zeros((num_classes, num_classes))
    for c, samples in enumerate(classes):
        for d, others in enumerate(classes):
            same = c == d
            pairs = within(vectors, samples) if same else between(vectors, samples, others)
            matrix[c, d] = mean(pairs) or 0.0
    return matrix


def class_statistics(activations, labels, num_classes, *, sample_weight=None, axis=-1):
    """Sums of normalised vectors, counts, counts of non-zero vectors and sums of L1 norms."""
    vectors = activation_vectors(activations, axis)
    units = len(vectors[0])
    sums, counts = np.zeros((num_classes, units)), np.zeros(num_classes)
    nonzero, l1 = np.zeros(num_classes), np.zeros(num_classes)
    for c, samples in enumerate(members(labels, num_classes, sample_weight)):
        for i in samples:
            length = norm(vectors[i])
            counts[c] += 1
            l1[c] += sum(vectors[i])
            nonzero[c] += length > 0
            for d in range(units):
                sums[c, d] += vectors[i][d] / length if length else 0.0
    return {"sums": sums, "counts": counts, "nonzero": nonzero, "l1": l1}


def activation_frequency(
    activations, labels, num_classes, *, sample_weight=None, axis=-1, epsilon=0.0
):
    """Counts of the samples of each class that activate each unit at any position, (C, D)."""
    by_unit = np.moveaxis(np.asarray(activations, dtype="float64"), axis, 1)
    counts = np.zeros((num_classes, by_unit.shape[1]), dtype=int)
    for c, samples in enumerate(members(labels, num_classes, sample_weight)):
        for i in samples:
            for d, unit in enumerate(by_unit[i]):
                counts[c, d] += any(abs(value) > epsilon for value in np.ravel(unit))
    return counts


def numeric_gradient(function, array, step=1e-6):
    """Central differences of a scalar function, in float64."""
    point = np.array(array, dtype="float64")
    gradient = np.zeros_like(point)
    for index in np.ndindex(point.shape):
        center = point[index]
        point[index] = center + step
        above = function(point)
        point[index] = center - step
        below = function(point)
        point[index] = center
        gradient[index] = (above - below) / (2 * step)
    return gradient
