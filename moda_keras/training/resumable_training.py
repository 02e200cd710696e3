"""A Keras callback: training that goes on after a kill, to the same result."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from moda_keras.training.callback_states import (
    CallbackState,
    check_callbacks,
    expect_beginning,
    require_begun,
    require_same_callbacks,
)
from moda_keras.training.training_state import (
    TrainingState,
    read_training_state,
    remove_training_state,
    set_random_state,
    write_training_state,
)


class ResumableTraining(keras.callbacks.Callback):
    """Saves the state of training after every epoch, and goes on from it after a kill.

    Run the same program again: it trains the epochs that are missing, and ends with the weights
    and the history of a run without interruption. A kill or a power cut at any moment loses the
    running epoch at most.

    One file holds everything: weights, the variables of the optimizer, the number of epochs, the
    history, the seeds of random layers such as `Dropout`, and the generators of Python, NumPy and
    PyTorch, which shuffle. It has a digest and is written whole or not at all. The state of the
    epoch before is kept as `<path>.previous`; if the newer one cannot be read, training goes on
    from it.

    Give it `EarlyStopping` and `ReduceLROnPlateau` in `callbacks` too, and their patience and best
    value, epoch and weights are held: training stops in the same epoch with the same weights. What
    other callbacks keep to themselves is not held, such as the best value of a `ModelCheckpoint`;
    nor is the order in which TensorFlow shuffles *arrays*. There, pass batches whose order depends
    on the epoch alone, such as `Dataset.train_batches` with its `tell_epoch()`.

    Put it last in the list of callbacks, so that the history has the logs that others add. One
    process trains at a time: a change of the file by another one is noticed and refused.

    Args:
        path: The file. It stays after training; `remove()` removes it.
        settings: What tells this training from others, such as a learning rate: a dict in JSON's
            types. A state with other settings is refused.
        callbacks: Callbacks whose state is held, `EarlyStopping` and `ReduceLROnPlateau`. They go
            into the callbacks of `fit` as well, before this one.

    Attributes:
        initial_epoch: The argument of `fit`: how many epochs are complete. If an `EarlyStopping`
            has ended the training, a number above all, so that `fit` trains none and gives the
            model the best weights again.
        history: Dict from the name of a log to its values in all complete epochs, including those
            before the interruption. `fit` returns them too.

    Raises:
        ValueError: If the state is damaged, with the one before; if it is of other settings or
            callbacks; when training begins, if it is of another model, `initial_epoch` is not
            passed on, or `callbacks` are not in `fit`'s before this one.

    Examples:
        >>> import tempfile
        >>> import keras
        >>> import numpy as np
        >>> import moda_keras as mk
        >>> folder = tempfile.TemporaryDirectory()
        >>> x, y = np.ones((8, 2)), np.ones((8, 1))
        >>> def train(epochs):
        ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        ...     model.compile("adam", "mse")
        ...     state = mk.callbacks.ResumableTraining(f"{folder.name}/training.state")
        ...     first = state.initial_epoch
        ...     model.fit(x, y, initial_epoch=first, epochs=epochs, callbacks=[state], verbose=0)
        ...     return first, len(state.history["loss"])
        >>> train(epochs=2), train(epochs=5)
        ((0, 2), (2, 5))
        >>> folder.cleanup()
    """

    def __init__(
        self,
        path: str | Path,
        *,
        settings: Mapping[str, Any] | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ):
        super().__init__()
        self.callbacks = list(callbacks)
        check_callbacks(self.callbacks)
        self.path = Path(path)
        self.settings = json.loads(json.dumps(settings or {}))
        self._found = read_training_state(self.path)
        self._on_disk = self._mark()
        self.history: dict[str, list[Any]] = {}
        if self._found is not None:
            self._check_settings(self._found.settings)
            self.history = {name: list(each) for name, each in self._found.history.items()}
            present = [CallbackState.of(each) for each in self.callbacks]
            require_same_callbacks(self.path, self._found.callbacks, present)
        self._epoch = self._first = 0 if self._found is None else self._found.epoch
        has_stopped = self._found and any(each.has_stopped for each in self._found.callbacks)
        self.initial_epoch = sys.maxsize if has_stopped else self._first
        self._is_first = True
        expect_beginning(self.callbacks)

    def remove(self) -> None:
        """Removes the state, when its training has ended and the model is saved."""
        remove_training_state(self.path)
        self._on_disk = self._mark()

    def on_train_begin(self, logs: dict | None = None) -> None:
        require_begun(self.callbacks)
        if self._found is not None:
            self._found.restore(self.model)
            for callback, state in zip(self.callbacks, self._found.callbacks, strict=True):
                state.restore(callback)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if epoch != self._epoch:
            raise ValueError(
                f"Expected training to begin with epoch {self._epoch}, before which "
                f"{str(self.path)!r} was saved. Received: epoch {epoch}. Pass "
                "`initial_epoch=callback.initial_epoch` to `fit`"
            )
        if self._found is not None:
            set_random_state(self._found.random)
            self._found = None
        elif self._is_first:
            # Weights that were drawn without a seed are those to start from again.
            self._save()
        self._is_first = False

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = logs or {}
        for name in dict.fromkeys([*self.history, *logs]):
            self.history.setdefault(name, [None] * epoch).append(_as_json(logs.get(name)))
        self._epoch = epoch + 1
        self._save()

    def on_train_end(self, logs: dict | None = None) -> None:
        shown = getattr(self.model, "history", None)
        if self._first and isinstance(shown, keras.callbacks.History):
            for name, values in self.history.items():
                shown.history[name] = [*values[: self._first], *shown.history.get(name, [])]
            shown.epoch = list(range(self._epoch))
        expect_beginning(self.callbacks)

    def _save(self) -> None:
        if self._mark() != self._on_disk:
            raise ValueError(
                f"Expected {str(self.path)!r} as this training left it. Received: a file that was "
                "changed since, perhaps by another training. Give each a file of its own"
            )
        present = (self._epoch, self.history, self.settings, self.callbacks)
        state = TrainingState.of(self.model, *present)
        write_training_state(self.path, state)
        self._on_disk = self._mark()

    def _mark(self) -> tuple[int, int] | None:
        """Tells the file from any other of that name."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns

    def _check_settings(self, found: Mapping[str, Any]) -> None:
        names = [*self.settings, *(name for name in found if name not in self.settings)]
        changed = [name for name in names if self.settings.get(name) != found.get(name)]
        if changed:
            raise ValueError(
                f"Expected the settings of the interrupted training in {str(self.path)!r}, "
                f"{ {name: found.get(name) for name in changed} }. Received: "
                f"{ {name: self.settings.get(name) for name in changed} }. Remove the file to "
                "start over, or choose another"
            )


def _as_json(value: Any) -> Any:
    if value is None or isinstance(value, (int, float)):
        return value
    return np.asarray(keras.ops.convert_to_numpy(value)).tolist()
