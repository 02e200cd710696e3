"""Several threads, and one thread with native threads of its own."""

import threading

import keras
import numpy as np
import pytest

import moda_keras as mk
from moda_keras.ops.backends import backend

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


def trained(units=8, seed=0):
    """The weights after training; their values depend on nothing but the arguments."""
    random = np.random.default_rng(seed)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(units, activation="relu", name="hidden")
    output = keras.layers.Dense(3, name="output")
    made = mk.ModularModel(inputs, output(hidden(inputs)))
    made.set_weights([random.normal(size=each.shape) for each in made.weights])
    task_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(keras.optimizers.SGD(0.1), task_loss, modular_loss=mk.MODALoss())
    made.fit(X, Y, batch_size=20, epochs=2, shuffle=False, verbose=0)
    modules = mk.decompose(made, X, Y, verbose=0)
    return [*weights(made), modules.activation_counts["hidden"]]


def test_trainings_and_decompositions_at_once_are_those_one_by_one():
    expected = [trained(units=8 + seed, seed=seed) for seed in range(2)]
    received = [None] * 2
    barrier = threading.Barrier(2)

    def run(seed):
        barrier.wait(60)
        received[seed] = trained(units=8 + seed, seed=seed)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(expected, received, strict=True):
        assert other is not None  # its thread would have shown why
        for before, now in zip(one, other, strict=True):
            np.testing.assert_array_equal(now, before)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="of PyTorch")
def test_tracing_in_two_threads_leaves_pytorch_as_it_was():
    import torch

    known = vars(torch.autograd.Function)["apply"]
    first_in, second_in, first_out = (threading.Event() for _ in range(3))

    def first():
        with backend.without_custom_gradients(), backend.without_custom_gradients():
            first_in.set()
            second_in.wait(0.2)  # in vain: the other one waits for this one
        first_out.set()

    def second():
        first_in.wait(60)
        with backend.without_custom_gradients():
            second_in.set()
            first_out.wait(60)

    threads = [threading.Thread(target=each) for each in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert vars(torch.autograd.Function)["apply"] is known
