"""Training that is interrupted ends as training that is not."""

import keras
import numpy as np
import pytest
from resumed_training import (
    SHUFFLE,
    Stop,
    X,
    Y,
    assert_same,
    new_model,
    on_one_backend,
    state_of,
)  # fmt: skip
from small_models import BACKEND

import moda_keras as mk
from moda_keras.training.training_state import previous_of, read_training_state


def train(path, model=None, stop=None, epochs=5, **settings):
    """Trains for some epochs in all; returns the model, the callback and the history."""
    model = model or new_model()
    state = mk.callbacks.ResumableTraining(path, **settings)
    callbacks = [state] if stop is None else [state, Stop(stop)]
    arguments = {"batch_size": 8, "shuffle": SHUFFLE, "verbose": 0, "callbacks": callbacks}
    history = model.fit(X, Y, epochs=epochs, initial_epoch=state.initial_epoch, **arguments)
    return model, state, history


def interrupt(path, epoch, model=None):
    with pytest.raises(KeyboardInterrupt):
        train(path, model, stop=epoch)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    keras.utils.set_random_seed(3)
    return train(tmp_path_factory.mktemp("undisturbed") / "state")


# In the first epoch there is the state before it, with the weights to start from.
@pytest.mark.parametrize("epochs", [[0], [1, 3], [4]] if BACKEND == "torch" else [[0, 3]])
def test_result_is_that_of_training_without_interruption(epochs, undisturbed, tmp_path):
    keras.utils.set_random_seed(3)
    for number, epoch in enumerate(epochs):
        interrupt(tmp_path / "state", epoch)
        keras.utils.set_random_seed(50 + number)  # another process: other weights and seeds
    model, state, history = train(tmp_path / "state")
    assert state.initial_epoch == epochs[-1]
    assert_same(model, undisturbed[0])
    assert history.history == undisturbed[2].history == state.history
    assert history.epoch == list(range(5))


@on_one_backend
def test_ended_training_is_not_done_again(undisturbed, tmp_path):
    _, state, _ = train(tmp_path / "state")
    before = (tmp_path / "state").read_bytes()
    _, again, history = train(tmp_path / "state")
    assert (tmp_path / "state").read_bytes() == before
    assert again.initial_epoch == 5 and history.history == state.history
    again.remove()
    assert not list(tmp_path.iterdir())


POLICIES = ["bfloat16", "mixed_float16"] if BACKEND == "torch" else ["bfloat16"]


@pytest.mark.parametrize("policy", POLICIES)
def test_state_keeps_every_dtype(policy, tmp_path):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        interrupt(tmp_path / "state", 1)
        model = new_model()
        state = mk.callbacks.ResumableTraining(tmp_path / "state")
        model.fit(X, Y, epochs=1, initial_epoch=1, callbacks=[state], verbose=0)
        found = read_training_state(tmp_path / "state")
        for variable, value in zip(state_of(model), [*found.model, *found.optimizer], strict=True):
            assert variable.dtype == value.dtype
            np.testing.assert_array_equal(variable, value)
    finally:
        keras.config.set_dtype_policy(before)


@on_one_backend
def test_damaged_state_gives_way_to_the_one_before(undisturbed, tmp_path):
    keras.utils.set_random_seed(3)
    interrupt(tmp_path / "state", 3)
    whole = (tmp_path / "state").read_bytes()
    (tmp_path / "state").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match="state' .*cannot be read.*after 2 epochs"):
        model, state, _ = train(tmp_path / "state")
    assert state.initial_epoch == 2
    assert_same(model, undisturbed[0])


@on_one_backend
def test_kill_between_two_renames_leaves_the_one_before(undisturbed, tmp_path):
    keras.utils.set_random_seed(3)
    interrupt(tmp_path / "state", 2)
    (tmp_path / "state").unlink()
    model, state, _ = train(tmp_path / "state")
    assert state.initial_epoch == 1
    assert_same(model, undisturbed[0])


@on_one_backend
def test_no_damage_is_overlooked(tmp_path):
    interrupt(tmp_path / "state", 1)
    previous_of(tmp_path / "state").unlink()
    whole = (tmp_path / "state").read_bytes()
    random = np.random.default_rng(0)
    meant = state_of_file(tmp_path / "state")
    for place in random.choice(len(whole), 150, replace=False):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << random.integers(8)
        (tmp_path / "state").write_bytes(damaged)
        try:
            found = state_of_file(tmp_path / "state")
        except ValueError as error:
            assert str(tmp_path / "state") in str(error)
            continue
        assert found == meant  # a byte that says nothing, such as the time of a member
    (tmp_path / "state").write_bytes(whole[:-30])
    previous_of(tmp_path / "state").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"state' .* and .*state\.previous'.*Remove it"):
        mk.callbacks.ResumableTraining(tmp_path / "state")


def state_of_file(path):
    found = read_training_state(path)
    arrays = [each.tobytes() for each in (*found.model, *found.optimizer)]
    return found.epoch, found.history, found.settings, found.random, arrays


@on_one_backend
@pytest.mark.parametrize("name", ["model_0", "optimizer_3", "header"])
def test_changed_content_is_refused(name, tmp_path):
    train(tmp_path / "state", epochs=1)
    previous_of(tmp_path / "state").unlink()
    with np.load(tmp_path / "state") as file:
        content = dict(file)
    content[name] = content[name].copy()
    content[name].flat[0] += 1
    np.savez(tmp_path / "state.npz", **content)  # an archive with right checksums
    (tmp_path / "state.npz").rename(tmp_path / "state")
    with pytest.raises(ValueError, match="its digest is another"):
        read_training_state(tmp_path / "state")


@on_one_backend
def test_pickles_are_refused(tmp_path):
    np.savez(tmp_path / "state", header=np.array([print], dtype=object))
    (tmp_path / "state.npz").rename(tmp_path / "state")
    with pytest.raises(ValueError, match="damaged or of another origin"):
        read_training_state(tmp_path / "state")


@on_one_backend
def test_state_of_another_training_is_refused(tmp_path):
    path = tmp_path / "state"
    train(path, epochs=1, settings={"rate": 0.05, "layers": (3, 4)})
    message = r"in '.*state', \{'rate': 0.05\}. Received: \{'rate': 0.1\}"
    with pytest.raises(ValueError, match=message):
        train(path, settings={"rate": 0.1, "layers": [3, 4]})
    with pytest.raises(ValueError, match="Expected the settings"):
        train(path)
    kept = {"rate": 0.05, "layers": [3, 4]}
    other = new_model(units=7)
    weights = other.get_weights()
    with pytest.raises(ValueError, match=r"Expected the model .*\(5, 6\).*Received.*\(5, 7\)"):
        train(path, other, settings=kept)
    for one, its in zip(other.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, its)
    with pytest.raises(ValueError, match="Expected the optimizer"):
        train(path, new_model(optimizer="sgd"), settings=kept)


@on_one_backend
def test_forgotten_initial_epoch_is_refused(tmp_path):
    train(tmp_path / "state", epochs=2)
    state = mk.callbacks.ResumableTraining(tmp_path / "state")
    with pytest.raises(ValueError, match=r"begin with epoch 2.*Pass `initial_epoch"):
        new_model().fit(X, Y, epochs=3, callbacks=[state], verbose=0)


@on_one_backend
def test_two_trainings_of_one_state_are_noticed(tmp_path):
    first = mk.callbacks.ResumableTraining(tmp_path / "state")
    train(tmp_path / "state", epochs=1)
    with pytest.raises(ValueError, match="perhaps by another training"):
        new_model().fit(X, Y, callbacks=[first], verbose=0)


@on_one_backend
def test_logs_that_are_not_in_every_epoch(tmp_path):
    class Sometimes(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                logs["extra"] = np.float32(0.5)

    state = mk.callbacks.ResumableTraining(tmp_path / "state")
    new_model().fit(X, Y, epochs=3, callbacks=[Sometimes(), state], verbose=0)
    assert state.history["extra"] == [None, 0.5, None]
    assert mk.callbacks.ResumableTraining(tmp_path / "state").history == state.history
