"""GradSplitter: schedule, choice of the epoch, refusals. More in `test_mask_search.py`."""

import numpy as np
import pytest
from filter_model import colored_images, model_that_reads_three_filters
from small_models import inputs_of, mlp

import moda_keras as mk
from moda_keras.methods.gradsplitter import GradSplitter


def test_high_price_of_units_drops_all_and_the_best_epoch_is_kept():
    """Accuracy falls as everything is dropped: the modules are those of an epoch before."""
    model, (x, y) = model_that_reads_three_filters(), colored_images()
    search = GradSplitter(epochs=40, head=False, alpha=1e4, learning_rate=0.05)
    modules = search.decompose(model, x, y, batch_size=8, verbose=0)
    classifier = mk.side_by_side(modules, [0, 1, 2])
    assert np.mean(classifier.predict_on_batch(x).argmax(axis=1) == y) > 0.95


def test_model_without_convolutions_is_refused_by_gradsplitter():
    model = mlp()
    with pytest.raises(ValueError, match="convolutional layers for GradSplitter"):
        GradSplitter().decompose(model, inputs_of(model, 6), np.arange(6) % 3, verbose=0)


def test_schedule_is_that_of_the_authors():
    phases = [GradSplitter().phase(index) for index in range(20)]
    masks = [each.trains_masks for each in phases]
    assert masks == [0] * 5 + [1] * 5 + [0] * 2 + [1] * 5 + [0] * 2 + [1]
    rates = [0.01] * 5 + [0.001] * 15
    assert [each.rate for each in phases] == pytest.approx(rates)
    assert [index for index, each in enumerate(phases) if each.is_fresh] == [5, 10, 12, 17, 19]


def test_modules_are_of_one_epoch():
    """The epoch is chosen by the accuracy of all modules together."""
    search = GradSplitter()
    outputs = np.array([[[2.0], [0.0], [0.0]], [[1.0], [1.0], [1.0]]])
    accuracy, shares = search.judge(outputs, np.array([[0, 1, 0]] * 2), np.array([0.2, 0.4]))
    assert accuracy == pytest.approx([2 / 3] * 2) and shares == pytest.approx([0.3] * 2)


def test_dense_units_stay_whole():
    modules = GradSplitter(8, head=False, learning_rate=0.3, max_accuracy_loss=1).decompose(
        mk.zoo.lenet5((28, 28, 1), classes=2),
        np.random.default_rng(0).random((8, 28, 28, 1)),
        np.arange(8) % 2,
        verbose=0,
    )
    assert modules.units["fc1_relu"].all() and not modules.units["conv1_relu"].all()
