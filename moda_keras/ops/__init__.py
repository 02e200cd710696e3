"""Operations of modularization: statistics of hidden activations by class.

Every function takes what a backend hands over (NumPy arrays or backend tensors), is differentiable
where it makes sense, and costs O(B D + C D) time and memory for B samples, D units, C classes:
pairs of samples are never formed.
"""

from moda_keras.ops.activation_vectors import (
    masked_as_vectors,
    position_means,
    unit_magnitudes,
    unit_peaks,
)
from moda_keras.ops.counts import activation_counts, activation_frequency, membership_counts
from moda_keras.ops.labels import (
    check_labels,
    check_multi_hot,
    class_ids,
    class_memberships,
    unchecked_class_ids,
)
from moda_keras.ops.native.choice import native_status
from moda_keras.ops.observation import MaskedActivation, Observation, observation_of, observations
from moda_keras.ops.statistics import (
    ClassStatistics,
    JointStatistics,
    class_similarity,
    class_statistics,
    joint_statistics,
    statistics_of_magnitudes,
    sum_by_class,
)

__all__ = [
    "ClassStatistics",
    "JointStatistics",
    "MaskedActivation",
    "Observation",
    "activation_counts",
    "activation_frequency",
    "check_labels",
    "check_multi_hot",
    "class_ids",
    "class_memberships",
    "class_similarity",
    "class_statistics",
    "joint_statistics",
    "masked_as_vectors",
    "membership_counts",
    "native_status",
    "observation_of",
    "observations",
    "position_means",
    "statistics_of_magnitudes",
    "sum_by_class",
    "unchecked_class_ids",
    "unit_magnitudes",
    "unit_peaks",
]
