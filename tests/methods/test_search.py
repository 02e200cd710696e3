"""The contract of searches: checks, resuming, seeds."""

import keras
import numpy as np
import pytest

from moda_keras.methods import Search
from moda_keras.methods.search import check_positive


class Lottery(Search):
    """A search that switches one unit of every class on in every round."""

    name = "lottery"

    def __init__(self, draws=4, *, seed=0, fails_after=None):
        super().__init__(seed=seed)
        check_positive(draws=draws)
        self.draws = draws
        self.fails_after = fails_after

    def get_config(self):
        return {"draws": self.draws, "seed": self.seed}

    def rounds(self, problem):
        return self.draws

    def start(self, problem):
        return {h.name: np.zeros((problem.classes, h.units), bool) for h in problem.hidden}

    def advance(self, problem, state, index):
        if index == self.fails_after:
            raise KeyboardInterrupt
        random = self.random(index)
        for table in state.values():
            table[np.arange(len(table)), random.integers(table.shape[1], size=len(table))] = True
        return state

    def units(self, problem, state):
        return state


class OfMaps(Lottery):
    needs_maps = True


@pytest.fixture(scope="module")
def model():
    inputs = keras.Input((5,))
    hidden = keras.layers.Dense(40, activation="relu", name="features")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, name="logits")(hidden))


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    return random.normal(size=(12, 5)).astype("float32"), np.arange(12) % 3


def test_same_seed_gives_the_same_modules(model, data):
    first, second, other = (
        Lottery(seed=seed).decompose(model, *data, verbose=0).units["features"]
        for seed in (1, 1, 2)
    )
    assert (first == second).all()
    assert (first != other).any()


@pytest.mark.parametrize("rounds_before", [0, 1, 3])
def test_interrupted_search_comes_to_the_same_modules(model, data, tmp_path, rounds_before):
    state = tmp_path / "state.npz"
    with pytest.raises(KeyboardInterrupt):
        Lottery(fails_after=rounds_before).decompose(model, *data, state=state, verbose=0)
    resumed = Lottery().decompose(model, *data, state=state, verbose=0)
    whole = Lottery().decompose(model, *data, verbose=0)
    assert (resumed.units["features"] == whole.units["features"]).all()
    assert whole.units["features"].sum() > 3


def test_finished_search_is_not_run_again(model, data, tmp_path):
    state = tmp_path / "state.npz"
    Lottery().decompose(model, *data, state=state, verbose=0)
    Lottery(fails_after=0).decompose(model, *data, state=state, verbose=0)


def test_only_the_state_file_stays(model, data, tmp_path):
    Lottery().decompose(model, *data, state=tmp_path / "state.npz", verbose=0)
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


@pytest.mark.parametrize("change", ["seed", "argument", "weights", "inputs", "labels", "batches"])
def test_state_of_another_search_is_refused(model, data, tmp_path, change):
    x, y = data
    state = tmp_path / "state.npz"
    Lottery().decompose(model, x, y, state=state, verbose=0)
    search, other, batch_size = Lottery(), model, 128
    if change == "seed":
        search = Lottery(seed=1)
    if change == "argument":
        search = Lottery(draws=5)
    if change == "weights":
        other = keras.models.clone_model(model)
    if change == "inputs":
        x = x + 1
    if change == "labels":
        y = y[::-1]
    if change == "batches":
        batch_size = 4
    with pytest.raises(ValueError, match=r"same search.*Received"):
        search.decompose(other, x, y, state=state, batch_size=batch_size, verbose=0)


@pytest.mark.parametrize("content", [b"", b"not a state", b"PK\x03\x04 broken"])
def test_file_that_is_no_state_is_refused(model, data, tmp_path, content):
    state = tmp_path / "state.npz"
    state.write_bytes(content)
    with pytest.raises(ValueError, match="which is not one"):
        Lottery().decompose(model, *data, state=state, verbose=0)
    assert state.read_bytes() == content


def test_missing_labels_are_refused(model, data):
    with pytest.raises(ValueError, match="Expected labels"):
        Lottery().decompose(model, data[0], None, verbose=0)


def test_class_without_samples_is_refused(model, data):
    x, y = data
    with pytest.raises(ValueError, match=r"samples of every class.*cat"):
        names = ["cat", "dog", "cow"]
        Lottery().decompose(model, x[y > 0], y[y > 0], class_names=names, verbose=0)


def test_label_beyond_the_classes_is_refused(model, data):
    with pytest.raises(ValueError, match="0 to 2"):
        Lottery().decompose(model, data[0], data[1] + 1, verbose=0)


def test_model_without_convolutions_is_refused_where_they_are_needed(model, data):
    with pytest.raises(ValueError, match=r"convolutional layers for OfMaps.*features"):
        OfMaps().decompose(model, *data, verbose=0)


@pytest.mark.parametrize("draws", [0, -1, 1.5, True, None])
def test_budget_that_is_no_positive_integer_is_refused(draws):
    with pytest.raises(ValueError, match="`draws` to be an integer >= 1"):
        Lottery(draws=draws)


@pytest.mark.parametrize("seed", [-1, 0.5, None, "a"])
def test_seed_that_is_no_integer_is_refused(seed):
    with pytest.raises(ValueError, match="`seed`"):
        Lottery(seed=seed)


def test_model_is_left_as_it_was(model, data):
    before = model.get_weights()
    Lottery().decompose(model, *data, verbose=0)
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


def test_progress_is_shown_unless_silent(model, data, capsys):
    Lottery().decompose(model, *data, verbose=0)
    assert capsys.readouterr().out == ""
    Lottery().decompose(model, *data)
    assert "4/4" in capsys.readouterr().out
