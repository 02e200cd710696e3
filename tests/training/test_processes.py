"""Training with native threads and beside other processes, on PyTorch."""

import multiprocessing

import keras
import numpy as np
import pytest

import moda_keras as mk

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="of PyTorch")
UNITS = 8192  # with 64 samples more than a megabyte, or one native thread would do it all
X = np.random.default_rng(0).normal(size=(192, 4)).astype("float32")
Y = np.arange(192) % 3


def trained(batches):
    """The weights after an epoch of `batches`; they depend on nothing else."""
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(UNITS, activation="relu")(inputs)
    model = mk.ModularModel(inputs, keras.layers.Dense(3)(hidden))
    random = np.random.default_rng(0)
    model.set_weights([0.1 * random.normal(size=each.shape) for each in model.weights])
    task_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    loss = mk.MODALoss(warmup=None)
    model.compile(keras.optimizers.SGD(0.01), task_loss, modular_loss=loss)
    model.fit(batches, epochs=1, shuffle=False, verbose=0)
    return [np.array(each) for each in model.get_weights()]


def batches(workers=0, context=None):
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    return torch.utils.data.DataLoader(
        data, batch_size=64, num_workers=workers, multiprocessing_context=context
    )


def trained_alone(connection):
    connection.send(trained(batches()))


def assert_same(received, expected):
    for one, other in zip(received, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def expected():
    return trained(batches())


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_native_threads_change_no_bit_of_the_weights(monkeypatch, expected, threads):
    from moda_keras.ops.native import libraries

    if libraries.reason_against_cpu():
        pytest.skip("the native library is not built")
    # PyTorch's own operations keep their number of threads.
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    weights = trained(batches())
    assert libraries.cpu().moda_threads() == threads
    assert_same(weights, expected)


def test_batches_from_forked_workers_train_as_others(expected):
    assert_same(trained(batches(workers=2, context="fork")), expected)


def test_spawned_process_trains_to_the_same_weights(expected):
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=trained_alone, args=(there,))
    process.start()
    assert here.poll(240), "the spawned process sends no weights"
    assert_same(here.recv(), expected)
    process.join(60)
    assert process.exitcode == 0
