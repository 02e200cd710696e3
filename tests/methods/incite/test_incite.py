"""INCITE: contributions against loops, its choice of units, resuming, its errors."""

import re
from pathlib import Path

import keras
import looped_cnn
import numpy as np
import pytest
from small_models import cnn, inputs_of, mlp

import moda_keras as mk
from moda_keras.methods.incite import INCITE

PAGE = Path(__file__).parents[3] / "docs" / "methods" / "incite.md"
FACTORS = (1.5, 0.5, 0.0)
LABELS = np.array([0, 1, 2, 3, 3, 2, 1, 0, 0])


@pytest.fixture(scope="module")
def model():
    return cnn()


@pytest.fixture(scope="module")
def x(model):
    return inputs_of(model, len(LABELS))


def looped_contributions(model, x, labels, name, clusters, change):
    """Loops over mutants, samples and outputs, from the paper."""
    _, original = looped_cnn.run(model, x)
    total = np.zeros((original.shape[1], clusters.max() + 1))
    for cluster in range(total.shape[1]):
        for factor in FACTORS:
            mask = np.array([factor if each == cluster else 1.0 for each in clusters])
            _, mutated = looped_cnn.run(model, x, {name: mask})
            for sample in range(len(x)):
                before, after = original[sample].argmax(), mutated[sample].argmax()
                for output in range(total.shape[0]):
                    difference = abs(mutated[sample, output] - original[sample, output])
                    if change == "predictions":
                        total[output, cluster] += (before == output) != (after == output)
                    elif change == "outputs" or labels[sample] == output:
                        total[output, cluster] += difference
    return total


@pytest.mark.parametrize("change", ["predictions", "logits", "outputs"])
@pytest.mark.parametrize("cluster_size", [1, 2])
def test_contributions_are_those_of_loops(model, x, change, cluster_size):
    """Units of a flattened map are channels: mutating one changes it at all positions."""
    pytest.importorskip("sklearn")
    task = "regression" if change == "outputs" else "classification"
    labels = None if change == "outputs" else LABELS
    # Logits are those before a softmax; outputs are what comes out.
    model = model if labels is None else cnn(activation="softmax")
    search = INCITE(0.5, cluster_size, factors=FACTORS, task=task, change=change)
    state = search.run(search.check(model, x, labels, batch_size=4), verbose=0)
    for i, name in enumerate(looped_cnn.NAMES):
        clusters = state[f"clusters{i}"]
        assert clusters.max() + 1 == -(-len(clusters) // cluster_size)
        expected = looped_contributions(model, x, LABELS, name, clusters, change)
        np.testing.assert_allclose(state[f"contributions{i}"], expected, rtol=1e-3, atol=1e-4)
        assert expected.max() > 0


def test_module_keeps_the_clusters_of_the_highest_contributions(model, x):
    search = INCITE(0.5, 1, change="logits")
    problem = search.check(model, x, LABELS)
    contributions = np.array([[3.0, 1.0, 2.0], [0.0, 0.0, 5.0], [1, 2, 3], [3, 2, 1]])
    state = {"clusters0": np.array([0, 1, 2, 1, 0]), "contributions0": contributions}
    state |= {f"clusters{i}": np.arange(3) for i in (1, 2)}
    state |= {f"contributions{i}": contributions for i in (1, 2)}
    units = search.units(problem, state)["relu1"]
    kept = [np.flatnonzero(row).tolist() for row in units]
    assert kept == [[0, 2, 4], [0, 2, 4], [1, 2, 3], [0, 1, 3, 4]]


@pytest.mark.parametrize("change", ["predictions", "logits"])
def test_every_class_gets_its_own_filters(change):
    pytest.importorskip("sklearn")
    model, x, y, own = looped_cnn.cnn_of_own_filters()
    modules = INCITE(1 / 3, 3, change=change).decompose(model, x, y, verbose=0)
    assert (modules.units["filters"] == own).all()


def test_every_output_of_a_regression_gets_its_own_filters():
    pytest.importorskip("sklearn")
    model, x, _, own = looped_cnn.cnn_of_own_filters()
    modules = INCITE(1 / 3, 3, task="regression").decompose(model, x, verbose=0)
    assert (modules.units["filters"] == own).all()
    small = mk.compose(modules, [2])
    expected = model.predict(x, verbose=0)[:, [2]]
    np.testing.assert_allclose(small.predict(x, verbose=0), expected, rtol=1e-4)


def test_regression_measures_what_comes_out_of_a_sigmoid():
    model = mlp(activation="relu", classes=2)
    outputs = keras.layers.Activation("sigmoid")(model.outputs[0])
    model = keras.Model(model.inputs, outputs)
    x = inputs_of(model, 6)
    search = INCITE(0.5, 1, factors=(0.0,), task="regression")
    state = search.run(search.check(model, x), verbose=0)
    units = {"second": np.ones((2, 5), bool)}
    units["second"][:, 3] = False
    mutant = mk.masked_model(mk.ModuleSet.from_units(model, units), [0, 1])
    expected = np.abs(mutant.predict(x, verbose=0) - model.predict(x, verbose=0)).sum(axis=0)
    np.testing.assert_allclose(state["contributions1"][:, 3], expected, rtol=1e-4, atol=1e-6)


def test_composed_model_is_the_masked_one(model, x):
    modules = INCITE(0.5, 1, change="logits").decompose(model, x, LABELS, verbose=0)
    small, masked = mk.compose(modules, [2, 0]), mk.masked_model(modules, [2, 0])
    assert small.count_params() < model.count_params()
    expected = masked.predict(x, verbose=0)
    np.testing.assert_allclose(small.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rounds_before", [1, 2])
def test_interrupted_search_comes_to_the_same_modules(
    model, x, tmp_path, monkeypatch, rounds_before
):
    pytest.importorskip("sklearn")
    search, state = INCITE(0.5, 2, change="logits"), tmp_path / "state.npz"
    whole = search.decompose(model, x, LABELS, verbose=0)
    advance = INCITE.advance

    def stop(self, problem, current, index):
        if index == rounds_before:
            raise KeyboardInterrupt
        return advance(self, problem, current, index)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(INCITE, "advance", stop)
        search.decompose(model, x, LABELS, state=state, verbose=0)
    resumed = search.decompose(model, x, LABELS, state=state, verbose=0)
    for name, table in whole.units.items():
        assert (resumed.units[name] == table).all()


def test_state_of_regression_goes_on_too(x, model, tmp_path):
    search = INCITE(0.5, 1, task="regression")
    first = search.decompose(model, x, state=tmp_path / "state.npz", verbose=0)
    again = search.decompose(model, x, state=tmp_path / "state.npz", verbose=0)
    assert (first.units["fc"] == again.units["fc"]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"share": 0}, "`share`"),
        ({"cluster_size": 0}, "`cluster_size`"),
        ({"factors": ()}, "`factors`"),
        ({"factors": (1.0,)}, "`factors`"),
        ({"factors": (float("nan"),)}, "`factors`"),
        ({"factors": 0.5}, "`factors`"),
        ({"task": "ranking"}, r"`task` to be one of \['classification', 'regression'\]"),
        ({"change": "outputs"}, r"`change` to be one of \['predictions', 'logits'\]"),
        ({"task": "regression", "change": "logits"}, r"`change` to be one of \['outputs'\]"),
    ],
)
def test_other_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        INCITE(**arguments)


def test_classification_needs_labels_of_every_class(model, x):
    with pytest.raises(ValueError, match="Expected labels"):
        INCITE(cluster_size=1).decompose(model, x, verbose=0)
    with pytest.raises(ValueError, match=r"samples of every class for INCITE.*\['3'\]"):
        INCITE(cluster_size=1).decompose(model, x, np.minimum(LABELS, 2), verbose=0)


def test_regression_takes_no_labels(model, x):
    with pytest.raises(ValueError, match=r"no labels.*Pass `x` alone"):
        INCITE(cluster_size=1, task="regression").decompose(model, x, LABELS, verbose=0)
    with pytest.raises(ValueError, match="array"):
        INCITE(cluster_size=1, task="regression").decompose(model, iter([x]), verbose=0)


def test_recurrent_model_is_refused():
    model = keras.Sequential(
        [keras.Input((3, 2)), keras.layers.SimpleRNN(4, name="memory"), keras.layers.Dense(2)]
    )
    with pytest.raises(ValueError, match="memory"):
        INCITE(cluster_size=1).decompose(model, inputs_of(model, 4), [0, 1, 0, 1], verbose=0)


def test_example_of_the_page_runs():
    pytest.importorskip("sklearn")
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(block, names)
    assert names["small"].output_shape == (None, 2)
