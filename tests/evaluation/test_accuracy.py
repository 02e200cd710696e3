import numpy as np
import pytest
from small_models import cnn, inputs_of, random_modules

import moda_keras as mk
from moda_keras.evaluation import full_accuracy, reuse_accuracy

CLASSES = [3, 1]
LABELS = np.array([2, 3, 1, 3, 2, 1, 1, 3, 3, 1, 0, 1])


@pytest.fixture(scope="module")
def modules():
    return random_modules(cnn(), fraction=0.8)


@pytest.fixture(scope="module")
def x(modules):
    return inputs_of(modules.model, len(LABELS))


def fraction_right(scores, classes):
    """Of the samples of the chosen classes; column j of `scores` is `classes[j]`."""
    right = total = 0
    for row, label in zip(scores, LABELS, strict=True):
        if label in classes:
            total += 1
            right += classes[max(range(len(classes)), key=lambda j: row[j])] == label
    return right / total


def test_reuse_accuracy_of_classes_that_do_not_start_at_zero(modules, x):
    scores = mk.masked_model(modules, CLASSES).predict(x, verbose=0)
    expected = fraction_right(scores, CLASSES)
    assert 0 < expected < 1
    assert reuse_accuracy(modules, CLASSES, x, LABELS) == pytest.approx(expected)
    assert reuse_accuracy(modules, ["3", 1], x, LABELS[:, None]) == pytest.approx(expected)


def test_reuse_accuracy_takes_a_model_at_hand(modules, x):
    composed = mk.compose(modules, CLASSES)
    expected = reuse_accuracy(modules, CLASSES, x, LABELS)
    assert reuse_accuracy(modules, CLASSES, x, LABELS, composed=composed) == expected
    # The other way round every answer is the wrong one: the given model is really used.
    mirrored = mk.compose(modules, CLASSES[::-1])
    received = reuse_accuracy(modules, CLASSES, x, LABELS, composed=mirrored)
    assert received == pytest.approx(1 - expected)


def test_full_accuracy_chooses_among_the_classes_only(modules, x):
    scores = modules.model.predict(x, verbose=0)
    expected = fraction_right(scores[:, CLASSES], CLASSES)
    assert full_accuracy(modules.model, CLASSES, x, LABELS) == pytest.approx(expected)
    among_all = np.mean([row.argmax() == label for row, label in zip(scores, LABELS, strict=True)])
    received = full_accuracy(modules.model, range(4), x, LABELS)
    assert received == pytest.approx(float(among_all))


def test_no_sample_of_the_classes(modules, x):
    with pytest.raises(ValueError, match=r"samples of the classes \[0\]"):
        full_accuracy(modules.model, [0], x, np.full(len(LABELS), 2))
    with pytest.raises(ValueError, match=r"samples of the classes \[0, 1\]"):
        reuse_accuracy(modules, [0, 1], x, np.full(len(LABELS), 2))


@pytest.mark.parametrize("classes", [[], [4], [1, 1], ["cow"]])
def test_impossible_classes(modules, x, classes):
    with pytest.raises(ValueError, match=r"[Cc]lass"):
        reuse_accuracy(modules, classes, x, LABELS)
