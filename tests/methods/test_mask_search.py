"""The searches by gradient: what they find, seeds, resuming, and what they refuse."""

import numpy as np
import pytest
from filter_model import colored_images, model_that_reads_three_filters
from small_models import cnn, inputs_of
from test_untouched import snapshot

import moda_keras as mk
from moda_keras.methods.gradsplitter import GradSplitter
from moda_keras.methods.seam import SeaM

SEARCHES = {
    "gradsplitter": lambda **options: GradSplitter(**{"learning_rate": 0.2, **options}),
    "gradsplitter_logits": lambda **options: GradSplitter(
        **{"head": False, "learning_rate": 0.2, **options}
    ),
    "seam": lambda **options: SeaM(**{"learning_rate": 0.2, **options}),
    "seam_logits": lambda **options: SeaM(**{"head": False, "learning_rate": 0.2, **options}),
    "seam_subtask": lambda **options: SeaM(**{"classes": [2, 0], "learning_rate": 0.2, **options}),
}


@pytest.fixture(scope="module")
def trained():
    """An untrained model of four classes, with data."""
    model = cnn(activation="softmax")
    return model, inputs_of(model, 24), np.arange(24) % 4


def final_state(search, model, x, y, path):
    search.decompose(model, x, y, batch_size=4, state=path, verbose=0)
    with np.load(path) as file:
        return {name: file[name] for name in file.files if not name.startswith("__")}


def stop_at(search, round_index):
    """Makes a search stop before a round, as Ctrl-C does."""
    advance = search.advance

    def advance_or_stop(problem, state, index):
        if index == round_index:
            raise KeyboardInterrupt
        return advance(problem, state, index)

    search.advance = advance_or_stop


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for key, values in first.items():
        np.testing.assert_array_equal(values, second[key], err_msg=key)


@pytest.mark.parametrize("kind", SEARCHES)
def test_same_seed_gives_the_same_state_and_another_a_different_one(kind, trained, tmp_path):
    first, second, other = (
        final_state(SEARCHES[kind](epochs=3, seed=seed), *trained, tmp_path / f"{index}.npz")
        for index, seed in enumerate((1, 1, 2))
    )
    assert_equal(first, second)
    assert any((first[key] != other[key]).any() for key in first)


@pytest.fixture(scope="module")
def whole_states(trained, tmp_path_factory):
    """The last states of searches that were never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    return {
        kind: final_state(SEARCHES[kind](epochs=13), *trained, folder / kind)
        for kind in ("gradsplitter", "seam")
    }


# GradSplitter's epochs 5 to 9 train masks, 10 and 11 heads; SeaM's 0 and 5 heads.
@pytest.mark.parametrize("rounds_before", [7, 11])
@pytest.mark.parametrize("kind", ["gradsplitter", "seam"])
def test_interrupted_search_comes_to_the_same_state(
    kind, rounds_before, trained, whole_states, tmp_path
):
    interrupted = SEARCHES[kind](epochs=13)
    stop_at(interrupted, rounds_before)
    with pytest.raises(KeyboardInterrupt):
        final_state(interrupted, *trained, tmp_path / "state.npz")
    resumed = final_state(SEARCHES[kind](epochs=13), *trained, tmp_path / "state.npz")
    assert any("adam" in key for key in resumed)
    assert_equal(resumed, whole_states[kind])


def test_search_goes_on_with_another_problem_after_an_interruption(trained, tmp_path):
    """Nothing of an interrupted search is left in the object."""
    model, x, y = trained
    path = tmp_path / "state.npz"

    first, second = SEARCHES["seam"](epochs=2), SEARCHES["seam"](epochs=2)
    stop_at(first, 1)
    with pytest.raises(KeyboardInterrupt):
        final_state(first, *trained, path)
    advance = second.advance
    stop_at(second, 1)
    with pytest.raises(KeyboardInterrupt):
        second.decompose(model, x + 1, y, batch_size=4, verbose=0)
    second.advance = advance
    found = final_state(second, *trained, path)
    whole = final_state(SEARCHES["seam"](epochs=2), *trained, tmp_path / "whole.npz")
    assert_equal(found, whole)


# Steps of an epoch: GradSplitter 5, of 20 samples; SeaM 3, of 5 samples and 5 others.
@pytest.mark.parametrize(
    ("kind", "joint", "heads"), [("gradsplitter", 1 * 5, 2 * 5), ("seam", 10 * 3, 3 * 3)]
)
def test_optimizers_begin_anew_with_each_phase_of_gradsplitter_alone(
    kind, joint, heads, whole_states
):
    steps = [int(whole_states[kind][f"{name}_adam:0"]) for name in ("joint", "heads")]
    assert steps == [joint, heads]


@pytest.mark.parametrize("kind", SEARCHES)
def test_composed_models_are_the_masked_ones(kind, trained):
    model, x, y = trained
    modules = SEARCHES[kind](epochs=8).decompose(model, x, y, batch_size=4, verbose=0)
    dropped = sum(int((~table[[2, 0]]).sum()) for table in modules.units.values())
    assert dropped
    expected = mk.masked_model(modules, [2, 0]).predict_on_batch(x)
    received = mk.compose(modules, [2, 0]).predict_on_batch(x)
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", SEARCHES)
def test_model_is_left_as_it_was(kind, trained):
    model, x, y = trained
    before, weights = snapshot(model), model.get_weights()
    SEARCHES[kind](epochs=6).decompose(model, x, y, verbose=0)
    assert snapshot(model) == before
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("kind", SEARCHES)
def test_filters_that_nobody_reads_are_dropped_and_accuracy_stays(kind):
    model, (x, y) = model_that_reads_three_filters(), colored_images()
    options = {"epochs": 19, "learning_rate": 0.05, "head_learning_rate": 0.05, "seed": 1}
    search = SEARCHES[kind](alpha=1e-4 if kind == "gradsplitter" else 1e-2, **options)
    modules = search.decompose(model, x, y, batch_size=8, verbose=0)
    found = modules.units["conv"]
    assert not found[:, 3:].any() and found.any()
    x_test, y_test = colored_images(seed=1)
    if kind == "gradsplitter":
        classifier = mk.side_by_side(search.split(model, x, y, batch_size=8, verbose=0)[1])
        assert np.mean(classifier.predict_on_batch(x_test).argmax(axis=1) == y_test) == 1.0
    if kind == "gradsplitter_logits":
        assert (found == np.eye(3, 8, dtype=bool)).all()
        classifier = mk.side_by_side(modules, [0, 1, 2])
        assert np.mean(classifier.predict_on_batch(x_test).argmax(axis=1) == y_test) == 1.0
    if kind == "seam":
        for index, each in enumerate(search.split(model, x, y, batch_size=8, verbose=0)[1]):
            answers = each.predict_on_batch(x_test).argmax(axis=1)
            assert np.mean(answers == (y_test != index)) > 0.95
    if kind == "seam_subtask":
        of_both = np.isin(y_test, [2, 0])
        (both,) = search.split(model, x, y, batch_size=8, verbose=0)[1]
        answers = np.array([2, 0])[both.predict_on_batch(x_test[of_both]).argmax(axis=1)]
        assert np.mean(answers == y_test[of_both]) == 1.0


@pytest.mark.parametrize("kind", ["gradsplitter", "seam"])
def test_samples_limit_what_is_used(kind, trained, monkeypatch):
    model, x, y = trained
    x, y = np.concatenate([x] * 2), np.concatenate([y] * 2)
    search = SEARCHES[kind](epochs=1, samples=5, validation=0.4)
    problem = search.check(model, x, y)
    training, validation = search._split(problem)
    assert np.bincount(y[training]).tolist() == [3] * 4
    assert np.bincount(y[validation]).tolist() == [2] * 4
    assert not set(training) & set(validation)


@pytest.mark.parametrize("kind", ["gradsplitter", "seam"])
def test_heads_are_behind_the_logits_of_their_module(kind, trained):
    model, x, y = trained
    search = SEARCHES[kind](epochs=8)
    problem = search.check(model, x, y, batch_size=4)
    state = search.run(problem, verbose=0)
    modules, models = search.split(model, x, y, batch_size=4, verbose=0)
    head = [state[key].astype("float64") for key in state if key.startswith("best_head:")]
    assert len(head) == (4 if kind == "gradsplitter" else 2)
    for index, each in enumerate(models):
        of_one = {n: np.tile(table[index], (4, 1)) for n, table in modules.units.items()}
        body = mk.compose(mk.ModuleSet.from_units(model, of_one), range(4), logits=True)
        values = np.asarray(body.predict_on_batch(x), "float64")
        for kernel, bias in zip(head[::2], head[1::2], strict=True):
            values = np.maximum(values, 0) @ kernel[index] + bias[index]
        if kind == "gradsplitter":
            expected = 1 / (1 + np.exp(-values))
        else:
            expected = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(each.predict_on_batch(x), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["gradsplitter_logits", "seam_logits"])
def test_split_without_heads_is_refused(kind, trained):
    with pytest.raises(ValueError, match="head=True"):
        SEARCHES[kind](epochs=1).split(*trained, verbose=0)


def test_small_budget_is_named(trained):
    with pytest.warns(UserWarning, match=r"too small to drop a unit.*6 steps"):
        SeaM(epochs=3).decompose(*trained, batch_size=4, verbose=0)


@pytest.mark.parametrize("method", [GradSplitter, SeaM])
def test_labels_are_needed(method, trained):
    model, x, y = trained
    with pytest.raises(ValueError, match="Expected labels"):
        method().decompose(model, x, None, verbose=0)
    with pytest.raises(ValueError, match="two samples of every class"):
        method().decompose(model, x[:7], y[:7], verbose=0)


@pytest.mark.parametrize("method", [GradSplitter, SeaM])
@pytest.mark.parametrize(
    ("name", "values"),
    {
        "epochs": [0, -1, 1.5, None, True],
        "alpha": [-0.1, np.nan, np.inf, "1", None, True],
        "learning_rate": [0, -1, np.inf],
        "head_learning_rate": [0, None],
        "validation": [0, 1, 1.5, None],
        "samples": [0, 1, 0.0, 1.5, "all"],
        "max_accuracy_loss": [-0.1, None],
        "seed": [-1, 0.5],
    }.items(),
)
def test_argument_out_of_range_is_refused(method, name, values):
    for value in values:
        with pytest.raises(ValueError, match=f"`{name}`.*Received"):
            method(**{name: value})
