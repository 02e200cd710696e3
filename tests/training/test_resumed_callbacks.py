"""`EarlyStopping` and `ReduceLROnPlateau` do the same in a training that was interrupted."""

import keras
import numpy as np
import pytest
from resumed_training import SHUFFLE, Stop, X, Y, assert_same, new_model

import moda_keras as mk

# The best is that of epoch 4, and three epochs later there was no better one.
SCORES = [1.0, 3.0, 2.0, 2.0, 4.0, 3.5, 3.0, 3.9, 9.0, 9.0]
STOPPED, BEST = 7, 4


class Scores(keras.callbacks.Callback):
    """A metric of known values."""

    def on_epoch_end(self, epoch, logs=None):
        logs["score"] = SCORES[epoch]


class Weights(keras.callbacks.Callback):
    """Keeps the weights and the learning rate after each epoch."""

    def __init__(self):
        super().__init__()
        self.weights, self.rates = {}, {}

    def on_epoch_end(self, epoch, logs=None):
        self.weights[epoch] = self.model.get_weights()
        self.rates[epoch] = float(self.model.optimizer.learning_rate)


def held():
    return [
        keras.callbacks.EarlyStopping("score", mode="max", patience=3, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau("score", mode="max", patience=2, cooldown=1, factor=0.5),
    ]


def train(path, *others, callbacks=None, epochs=10):
    callbacks = held() if callbacks is None else callbacks
    state = mk.callbacks.ResumableTraining(path, callbacks=callbacks)
    model = new_model()
    history = model.fit(
        X, Y, batch_size=8, shuffle=SHUFFLE, verbose=0, epochs=epochs,
        initial_epoch=state.initial_epoch, callbacks=[Scores(), *callbacks, state, *others],
    )  # fmt: skip
    return model, state, history


@pytest.fixture(scope="module")
def undisturbed():
    """A training that nobody can resume."""
    keras.utils.set_random_seed(3)
    model, kept = new_model(), Weights()
    history = model.fit(
        X, Y, batch_size=8, shuffle=SHUFFLE, verbose=0, epochs=10,
        callbacks=[Scores(), *held(), kept],
    )  # fmt: skip
    assert history.epoch[-1] == STOPPED
    return model, kept, history


@pytest.mark.parametrize("epochs", [[0], [3], [4, 6], [7]])
def test_training_stops_in_the_same_epoch_with_the_same_weights(epochs, undisturbed, tmp_path):
    keras.utils.set_random_seed(3)
    for number, epoch in enumerate(epochs):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "state", Stop(epoch))
        keras.utils.set_random_seed(50 + number)  # another process: other weights and seeds
    kept = Weights()
    model, state, history = train(tmp_path / "state", kept)
    assert state.initial_epoch == epochs[-1]
    expected, undisturbed_kept, undisturbed_history = undisturbed
    assert history.epoch[-1] == STOPPED and history.history == undisturbed_history.history
    assert_same(model, expected)
    for one, its in zip(model.get_weights(), undisturbed_kept.weights[BEST], strict=True):
        np.testing.assert_array_equal(one, its)
    later = {epoch: rate for epoch, rate in undisturbed_kept.rates.items() if epoch >= epochs[-1]}
    assert kept.rates == later and len({0.05, *later.values()}) > 1


def test_stopped_training_is_not_done_again(undisturbed, tmp_path):
    keras.utils.set_random_seed(3)
    train(tmp_path / "state")
    before = (tmp_path / "state").read_bytes()
    kept = Weights()
    model, _, history = train(tmp_path / "state", kept, epochs=20)
    assert kept.weights == {} and (tmp_path / "state").read_bytes() == before
    assert history.history == undisturbed[2].history and history.epoch[-1] == STOPPED
    assert_same(model, undisturbed[0])


def test_callbacks_serve_several_trainings(undisturbed, tmp_path):
    callbacks = held()
    for name in ("one", "other"):
        keras.utils.set_random_seed(3)
        assert_same(train(tmp_path / name, callbacks=callbacks)[0], undisturbed[0])


def test_callbacks_without_best_weights(tmp_path):
    callbacks = [keras.callbacks.EarlyStopping("score", mode="max", patience=3)]
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "state", Stop(6), callbacks=callbacks)
    again = [keras.callbacks.EarlyStopping("score", mode="max", patience=3)]
    assert train(tmp_path / "state", callbacks=again)[2].epoch[-1] == STOPPED


def test_callbacks_behind_the_state_or_missing_are_refused(tmp_path):
    early, reduce = held()
    state = mk.callbacks.ResumableTraining(tmp_path / "state", callbacks=[early, reduce])
    message = r"before it. Received: \['ReduceLROnPlateau'\] behind it or missing"
    for callbacks in ([early, state, reduce], [early, state]):
        with pytest.raises(ValueError, match=message):
            new_model().fit(X, Y, callbacks=[Scores(), *callbacks], verbose=0)


def test_other_callbacks_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Received: \['ModelCheckpoint'\]. Give others"):
        checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "a.keras", save_best_only=True)
        mk.callbacks.ResumableTraining(tmp_path / "state", callbacks=[checkpoint])
    train(tmp_path / "state", epochs=2)
    longer = [keras.callbacks.EarlyStopping("score", mode="max", patience=5), held()[1]]
    for callbacks in ([], held()[:1], held()[::-1], longer):
        with pytest.raises(ValueError, match=r"interrupted training in '.*state', .*'patience': 3"):
            mk.callbacks.ResumableTraining(tmp_path / "state", callbacks=callbacks)


def test_state_without_callbacks_is_that_of_older_versions(tmp_path):
    path = tmp_path / "state"
    train(path, callbacks=[], epochs=1)
    assert b'"version": 1' in path.read_bytes()
    with pytest.raises(ValueError, match=r"interrupted training in '.*state', \[\]. Received: \["):
        mk.callbacks.ResumableTraining(path, callbacks=held())
    train(tmp_path / "held", epochs=1)
    assert b'"version": 2' in (tmp_path / "held").read_bytes()
