"""CNNSplitter as a whole: what it finds, its seeds, resuming, its errors."""

import re
from pathlib import Path

import looped_cnn
import numpy as np
import pytest
from small_models import cnn, inputs_of, mlp

import moda_keras as mk
from moda_keras.methods.cnnsplitter import CNNSplitter, cnnsplitter

pytest.importorskip("pygad")
PAGE = Path(__file__).parents[3] / "docs" / "methods" / "cnnsplitter.md"
LABELS = np.array([0, 1, 2, 3] * 4)


@pytest.fixture(scope="module")
def model():
    return cnn()


@pytest.fixture(scope="module")
def x(model):
    return inputs_of(model, len(LABELS))


def small_search(**arguments):
    return CNNSplitter(**{"generations": 3, "population": 6, "compositions": (2, 8), **arguments})


def test_every_class_gets_mostly_its_own_filters():
    model, x, y, own = looped_cnn.cnn_of_own_filters(threshold=0.8)
    search = CNNSplitter(20, 12, compositions=(10, 50), seed=0)
    problem = search.check(model, x, y)
    state = search.run(problem, verbose=0)
    accuracy, distance, fitness = state["best_fitness"]
    assert accuracy == 1 and distance > 0.8
    assert fitness == pytest.approx(0.9 * accuracy + 0.1 * distance)
    units = search.units(problem, state)
    assert list(units) == ["filters"]  # layers without maps stay whole
    assert units["filters"][own].mean() > 0.8  # where all logits are 0, one class may win for free
    assert units["filters"][~own].mean() < 0.15


def test_state_holds_the_accuracy_and_distance_of_the_result(model, x):
    """Loops over the modules that are returned, each by itself."""
    search = small_search()
    problem = search.check(model, x, LABELS)
    state = search.run(problem, verbose=0)
    units = search.units(problem, state)
    own = np.zeros((len(LABELS), 4))
    for label in range(4):
        masks = {name: table[label] for name, table in units.items()}
        own[:, label] = looped_cnn.run(model, x, masks)[1][:, label]
    assert state["best_fitness"][0] == np.mean(own.argmax(axis=1) == LABELS)
    kept = [set(np.flatnonzero(np.append(units["relu1"][c], units["conv2"][c]))) for c in range(4)]
    pairs = [(kept[a], kept[b]) for a in range(4) for b in range(a)]
    distances = [1 - len(a & b) / len(a | b) for a, b in pairs]
    assert state["best_fitness"][1] == pytest.approx(np.mean(distances))


def test_winner_of_a_generation_is_the_first_of_the_next(model, x):
    search = small_search(alpha=1.0)
    problem = search.check(model, x, LABELS)
    state = search.start(problem)
    best = []
    for index in range(3):
        state = search.advance(problem, state, index)
        best.append(state["last_accuracy"])
        if index == 0:
            assert (state["population"][:, 0] == state["best"]).all()
    assert best == sorted(best)


def test_last_winner_is_composed_again_whatever_its_accuracy(model, x, monkeypatch):
    module = "moda_keras.methods.cnnsplitter.cnnsplitter"
    compose, seen = cnnsplitter.best_compositions, []

    def spy(*arguments, keep_first, **options):
        seen.append(keep_first)
        return compose(*arguments, keep_first=keep_first, **options)

    monkeypatch.setattr(f"{module}.best_compositions", spy)
    small_search().decompose(model, x, LABELS, verbose=0)
    assert seen == [False, True, True]


def test_same_seed_gives_the_same_modules(model, x):
    first, second, other = (
        small_search(seed=seed).decompose(model, x, LABELS, verbose=0).units for seed in (1, 1, 2)
    )
    assert all((first[name] == second[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


@pytest.mark.parametrize("rounds_before", [0, 2])
def test_interrupted_search_comes_to_the_same_modules(
    model, x, tmp_path, monkeypatch, rounds_before
):
    state = tmp_path / "state.npz"
    advance = CNNSplitter.advance

    def stop(self, problem, current, index):
        if index == rounds_before:
            raise KeyboardInterrupt
        return advance(self, problem, current, index)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CNNSplitter, "advance", stop)
        small_search().decompose(model, x, LABELS, state=state, verbose=0)
    resumed = small_search().decompose(model, x, LABELS, state=state, verbose=0)
    whole = small_search().decompose(model, x, LABELS, verbose=0)
    assert all((resumed.units[name] == whole.units[name]).all() for name in whole.units)


@pytest.mark.parametrize(
    "samples, expected", [(None, 6), (3, 3), (np.int64(2), 2), (0.5, 3), (100, 6)]
)
def test_samples_limit_what_is_used_of_each_class(model, samples, expected):
    x = np.random.default_rng(0).normal(size=(24, *model.input_shape[1:]))
    y = np.arange(24) % 4
    x[:, 0, 0, 0] = np.arange(24)  # says which sample it is
    problem = small_search(samples=samples).check(model, x, y)
    assert np.bincount(problem.y).tolist() == [expected] * 4
    drawn = problem.x[:, 0, 0, 0].astype(int)
    assert (np.diff(drawn) > 0).all() and (y[drawn] == problem.y).all()
    again = small_search(samples=samples).check(model, x, y)
    assert (again.x == problem.x).all()


def test_composed_model_is_the_masked_one(model, x):
    modules = small_search(groups=2).decompose(model, x, LABELS, verbose=0)
    small, masked = mk.compose(modules, [2, 0]), mk.masked_model(modules, [2, 0])
    expected = masked.predict(x, verbose=0)
    np.testing.assert_allclose(small.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)


def test_arguments_survive_in_the_config():
    search = small_search(groups=np.int64(3), alpha=np.float32(0.5))
    assert CNNSplitter(**search.get_config()).get_config() == search.get_config()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"generations": 0}, "`generations`"),
        ({"population": 1}, "`population` to be an integer >= 2"),
        ({"population": 2.5}, "`population`"),
        ({"alpha": 1.2}, "`alpha`"),
        ({"alpha": "most"}, "`alpha`"),
        ({"groups": 0}, "`groups`"),
        ({"dropped": -0.1}, "`dropped`"),
        ({"accuracy_loss": 2}, "`accuracy_loss`"),
        ({"compositions": (5, 2)}, "`compositions`"),
        ({"compositions": (0, 2)}, "`compositions`"),
        ({"compositions": 5}, "`compositions`"),
        ({"samples": 0}, "`samples`"),
        ({"samples": 1.5}, "`samples`"),
        ({"compositions": (1.5, 2)}, "`compositions`"),
    ],
)
def test_other_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CNNSplitter(**arguments)


def test_model_without_convolutions_is_refused():
    model = mlp()
    with pytest.raises(ValueError, match="convolutional layers for CNNSplitter"):
        small_search().decompose(model, inputs_of(model, 3), [0, 1, 2], verbose=0)


def test_labels_of_every_class_are_needed(model, x):
    with pytest.raises(ValueError, match="Expected labels"):
        small_search().decompose(model, x, verbose=0)
    with pytest.raises(ValueError, match=r"samples of every class for CNNSplitter.*\['3'\]"):
        small_search().decompose(model, x, np.minimum(LABELS, 2), verbose=0)


def test_example_of_the_page_runs():
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(block, names)
    assert names["small"].output_shape == (None, 2)
