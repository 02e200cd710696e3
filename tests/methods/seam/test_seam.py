"""SeaM: target tasks, their samples, and what is refused. More in `test_mask_search.py`."""

import json

import keras
import numpy as np
import pytest
from keras import layers
from small_models import cnn, inputs_of

from moda_keras.methods.seam import SeaM


@pytest.fixture(scope="module")
def trained():
    """An untrained model of four classes, with data."""
    model = cnn(activation="softmax")
    return model, inputs_of(model, 24), np.arange(24) % 4


def test_samples_of_a_class_are_balanced_by_as_many_others(trained):
    model, x, y = trained
    search = SeaM()
    problem = search.check(model, x, y)
    rows, labels = search._drawn(problem, np.arange(24), search.random(0))
    assert rows.shape == (4, 12)
    for index in range(4):
        assert (labels[index] == (y[rows[index]] != index)).all()
        assert (labels[index] == 0).sum() == 6
        assert len(set(rows[index])) == 12


def test_subtask_sees_its_own_classes_alone(trained):
    model, x, y = trained
    search = SeaM(classes=["dog", 0])
    problem = search.check(model, x, y, class_names=["cat", "cow", "dog", "hen"])
    rows, labels = search._drawn(problem, np.arange(24), search.random(0))
    assert sorted(rows[0]) == sorted(np.flatnonzero(np.isin(y, [0, 2])))
    assert (np.array([2, 0])[labels[0]] == y[rows[0]]).all()


def test_modules_of_a_subtask_compose_it_alone(trained):
    model, x, y = trained
    modules = SeaM(epochs=3, classes=[2, 0], learning_rate=0.2).decompose(model, x, y, verbose=0)
    assert modules.subtask == (2, 0)
    for table in modules.units.values():
        assert (table[2] == table[0]).all() and not table[[1, 3]].any()
    with pytest.raises(ValueError, match="sub-task"):
        modules.compose([0, 1])


def test_single_class_is_searched_against_the_rest(trained):
    model, x, y = trained
    search = SeaM(epochs=2, classes=[np.int64(3)], learning_rate=0.5)
    modules, (answer,) = search.split(model, x, y, verbose=0)
    assert modules.subtask == (3,) and answer.output_shape == (None, 2)
    json.dumps(search.get_config())


def test_recurrent_units_stay_whole():
    """Their masks would have to act inside the layer."""
    inputs = keras.Input((4, 3))
    x = layers.LSTM(5, name="lstm")(inputs)
    x = layers.Dense(6, activation="relu", name="features")(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    data = inputs_of(model, 8), np.arange(8) % 2
    modules = SeaM(epochs=9, learning_rate=0.3).decompose(model, *data, batch_size=4, verbose=0)
    assert modules.units["lstm"].all() and not modules.units["features"].all()
    only = keras.Model(inputs, layers.Dense(2)(layers.LSTM(5)(inputs)))
    with pytest.raises(ValueError, match="not of recurrent layers"):
        SeaM().decompose(only, *data, verbose=0)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([4], "Unknown class"),
        (["cow"], "Unknown class"),
        ([0, 0], "Duplicate"),
        ([], "at least one"),
        (3, "list of class"),
        ("0", "list of class"),
    ],
)
def test_classes_that_are_none_of_the_model_are_refused(classes, message, trained):
    with pytest.raises(ValueError, match=message):
        SeaM(classes=classes).decompose(*trained, verbose=0)


def test_softmax_in_the_middle_is_refused(trained):
    model, x, y = trained
    scaled = layers.Rescaling(2.0)(model(model.inputs[0]))
    with pytest.raises(ValueError, match="logits can be read"):
        SeaM().decompose(keras.Model(model.inputs, scaled), x, y, verbose=0)


def test_schedule_is_one_epoch_of_heads_and_four_of_masks():
    search = SeaM()
    assert [search.phase(index).trains_masks for index in range(7)] == [0, 1, 1, 1, 1, 0, 1]
    assert {search.phase(index).rate for index in range(7)} == {0.1}
    assert not any(search.phase(index).is_fresh for index in range(7))


@pytest.mark.parametrize(("head", "expected"), [(True, 10.0), (False, 1.0)])
def test_score_starts_where_it_falls_as_fast_as_the_paper_s(head, expected):
    """From 1 at 0.01, or from 10 at the heads' 0.1: 100 steps."""
    search = SeaM(learning_rate=0.01, head_learning_rate=0.1, head=head)
    assert search.starting_score() == pytest.approx(expected)
    assert search.starting_score() / search.phase(1).rate == pytest.approx(100)
