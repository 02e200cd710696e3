"""Models whose outputs are independent of each other: a sigmoid for each class."""

import warnings

import keras
import numpy as np
import pytest
from small_models import inputs_of, mlp, random_modules

import moda_keras as mk

MESSAGE = "independent of each other"


@pytest.fixture(scope="module")
def sigmoids():
    """Each output is above 0.5 for about half of the samples."""
    model = mlp(inputs=5)
    kernel, bias = model.layers[-1].get_weights()
    middle = np.median(model.predict(inputs_of(model, 40), verbose=0), axis=0)
    model.layers[-1].set_weights([kernel, bias - middle])
    return keras.Model(model.inputs, keras.layers.Activation("sigmoid")(model.outputs[0]))


@pytest.fixture(scope="module")
def x(sigmoids):
    return inputs_of(sigmoids, 40)


def independent(caught):
    return [str(each.message) for each in caught if MESSAGE in str(each.message)]


def test_warning_counts_the_samples_of_several_classes_or_none(sigmoids, x):
    scores = sigmoids.predict(x, verbose=0)
    several = [sum(score > 0.5 for score in row) != 1 for row in scores]
    assert 0 < sum(several) < len(several)
    for labels in (None, scores.argmax(axis=-1)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            measured = mk.metrics.ModelMeasurement(
                random_modules(sigmoids), [0, 1, 2], x, labels, batch_size=None
            )
        (said,) = independent(caught)
        assert f"{sum(several) / len(several):.0%} of these samples have none or several" in said
        assert "by the largest of the chosen outputs" in said and "docs/labels.md" in said
        assert measured.full()["agreement"] == 1.0


@pytest.mark.parametrize("kind", ["softmax", "logits", "two classes"])
def test_no_warning_where_the_largest_output_decides(kind, x):
    if kind == "two classes":  # sigmoids of -z and z
        model = mk.two_class_model(mlp(classes=1, inputs=5, activation="relu"))
        model = keras.Model(model.inputs, keras.layers.Activation("sigmoid")(model.outputs[0]))
    else:
        model = mlp(inputs=5)
        activation = keras.layers.Activation("softmax" if kind == "softmax" else "linear")
        model = keras.Model(model.inputs, activation(model.outputs[0]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mk.metrics.ModelMeasurement(random_modules(model), [1, 0], x, batch_size=None)
        mk.decompose(model, x, criterion="importance", verbose=0)
    expected = 1 if kind == "two classes" else 0  # of decompose, which has not seen the outputs
    assert len(independent(caught)) == expected


def test_one_sigmoid_decides_by_one_half(sigmoids, x):
    """Of one class the largest output is always its own: that would be right for all samples."""
    modules = random_modules(sigmoids)
    scores = sigmoids.predict(x, verbose=0)
    labels = scores[:, ::-1].argmax(axis=-1)  # others than the model's
    measured = mk.metrics.ModelMeasurement(modules, [1], x, labels, batch_size=None)
    small = mk.compose(modules, [1])
    of_class = [row for row in range(len(x)) if labels[row] == 1]
    small_scores = small.predict(x[of_class], verbose=0)
    right = [score > 0.5 for (score,) in small_scores]
    same = [(scores[row][1] > 0.5) == ok for row, ok in zip(of_class, right, strict=True)]
    assert 0 < sum(right) < len(right)
    figures = measured.measure(small)
    assert figures["accuracy"] == pytest.approx(np.mean(right))
    assert figures["agreement"] == pytest.approx(np.mean(same))
    full = measured.full()
    assert full["accuracy"] == pytest.approx(np.mean([scores[row][1] > 0.5 for row in of_class]))
    assert full["agreement"] == 1.0


def test_rows_of_several_labels_are_refused_everywhere(sigmoids, x):
    rows = (sigmoids.predict(x, verbose=0) > 0.5).astype("int32")
    labels = rows.argmax(axis=-1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importance = mk.decompose(sigmoids, x, labels, criterion="importance", verbose=0)
    modules = mk.decompose(sigmoids, x, rows, multi_label=True, verbose=0)
    for measure in (
        lambda: mk.metrics.ModelMeasurement(modules, [0, 1], x, rows),
        lambda: mk.metrics.reuse_accuracy(modules, [0, 1], x, rows),
        lambda: mk.metrics.full_accuracy(sigmoids, [0, 1], x, rows),
        lambda: mk.tuning.size_curve(importance, [0, 1], x, rows, (0.9,)),
        lambda: mk.tuning.threshold_curve(modules, x, rows),
        lambda: modules.tune_threshold(x, rows),
        lambda: importance.within(
            max_accuracy_loss=0.5, classes=[0, 1], validation_data=(x, rows), verbose=0
        ),
        lambda: mk.decompose(sigmoids, x, rows, criterion="importance", verbose=0),
    ):
        with pytest.raises(ValueError, match="rows of numbers >= 0 that sum to 1"):
            measure()


def test_importance_without_labels_says_what_stands_in_for_them(sigmoids, x):
    labels = sigmoids.predict(x, verbose=0).argmax(axis=-1)
    with pytest.warns(UserWarning, match="counts as of one class, that of the largest output"):
        modules = mk.decompose(sigmoids, x, criterion="importance", verbose=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mk.decompose(sigmoids, x, labels, criterion="importance", verbose=0)
        mk.decompose(sigmoids, x, labels, verbose=0)
        found = modules.within(parameters=0.5, classes=[0, 1], calibration_data=x, verbose=0)
        mk.compose(found, [0, 1], calibration_data=x, verbose=0)
    assert not independent(caught)


def test_calibration_data_of_any_classes_is_no_mistake(sigmoids, x):
    """Where samples may be of several classes, the largest output says nothing of the chosen."""
    scores = sigmoids.predict(x, verbose=0)
    others = x[scores.argmax(axis=-1) != 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        mk.compose(random_modules(sigmoids), [0], calibration_data=others, verbose=0)
    logits = keras.Model(sigmoids.inputs, sigmoids.layers[-2].output)
    with pytest.warns(UserWarning, match="takes 0% of them for the chosen classes"):
        mk.compose(random_modules(logits), [0], calibration_data=others, verbose=0)


def test_softmax_over_one_class_is_told_once(x):
    model = mlp(inputs=5)
    model = keras.Model(model.inputs, keras.layers.Softmax()(model.outputs[0]))
    modules = mk.decompose(model, x, np.arange(40) % 3, criterion="importance", verbose=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        mk.tuning.size_curve(modules, [0], x, np.arange(40) % 3, (0.9, 0.7))
    (said,) = [str(each.message) for each in caught if each.category is UserWarning]
    assert "accuracy and agreement of the class '0' are always 1" in said
