import keras
import numpy as np
from keras import layers

import moda_keras as mk
from moda_keras.observing.activation_counts import ActivationCounts

LABELS = np.array([0, 1, 1])
VALUES = [np.array([[0.0, 2.0], [0.5, 0.2], [3.0, 0.0]], "float32")]


def counts_of(metric):
    counts, samples = metric.tables()
    return counts["units"].tolist(), samples.tolist()


def test_a_reset_clears_the_counts_and_leaves_the_epsilons():
    model = keras.Sequential(
        [keras.Input((3,)), layers.Dense(2, "relu", name="units"), layers.Dense(2)]
    )
    metric = ActivationCounts(mk.find_hidden_activations(model), 2, epsilons=None)
    metric.set_epsilons({"units": 0.3})
    for _ in range(2):
        metric.reset_state()
        metric.update_state(LABELS, VALUES)
        assert counts_of(metric) == ([[0, 1], [2, 0]], [1, 2])
    metric.reset_state()
    assert counts_of(metric) == ([[0, 0], [0, 0]], [0, 0])
