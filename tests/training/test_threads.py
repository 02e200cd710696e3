"""A model that one thread trains, and another looks at."""

import threading

import keras
import numpy as np
import pytest

import moda_keras as mk

X = np.random.default_rng(0).normal(size=(60, 4)).astype("float32")
Y = np.arange(60) % 3


def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(8, activation="relu")(inputs)
    made = mk.ModularModel(inputs, keras.layers.Dense(3)(x))
    task_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(keras.optimizers.SGD(0.1), task_loss, modular_loss=mk.MODALoss())
    return made


class Pause(keras.callbacks.Callback):
    """Stops in the first batch until it is let go on."""

    def __init__(self):
        super().__init__()
        self.reached, self.go_on = threading.Event(), threading.Event()

    def on_train_batch_end(self, batch, logs=None):
        self.reached.set()
        assert self.go_on.wait(60)


def weights(trained):
    return [np.array(keras.ops.convert_to_numpy(each)) for each in trained.weights]


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="others leave the weights in place")
def test_model_in_training_is_refused_in_another_thread():
    alone, watched, pause = model(), model(), Pause()
    for each in (alone, watched):
        each.build((None, 4))
    alone.fit(X, Y, batch_size=20, epochs=3, shuffle=False, verbose=0)
    fit = threading.Thread(
        target=lambda: watched.fit(
            X, Y, batch_size=20, epochs=3, shuffle=False, verbose=0, callbacks=[pause]
        )
    )
    fit.start()
    assert pause.reached.wait(60)
    with pytest.raises(RuntimeError, match="in another thread"):
        mk.decompose(watched, X, Y, verbose=0)
    pause.go_on.set()
    fit.join()
    for expected, received in zip(weights(alone), weights(watched), strict=True):
        np.testing.assert_array_equal(received, expected)
    assert mk.decompose(watched, X, Y, verbose=0).sample_counts.tolist() == [20, 20, 20]
