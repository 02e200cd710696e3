"""What Keras's callbacks keep from epoch to epoch, so that a training can go on with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

# Public attributes that change from epoch to epoch, and those that are arguments.
_VALUES = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_epoch", "stopped_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
}
_ARGUMENTS = {
    keras.callbacks.EarlyStopping: (
        "monitor", "mode", "patience", "baseline", "restore_best_weights", "start_from_epoch",
    ),
    keras.callbacks.ReduceLROnPlateau: (
        "monitor", "mode", "patience", "factor", "cooldown", "min_lr",
    ),
}  # fmt: skip
# No number of epochs to wait for: `on_train_begin` of the callback sets 0.
_NOT_BEGUN = -1


@dataclass(frozen=True, eq=False)
class CallbackState:
    """What a callback goes on from.

    Attributes:
        kind: Name of its class.
        arguments: Dict in JSON's types of its arguments.
        values: Dict in JSON's types of what changes from epoch to epoch.
        weights: The best weights, if it keeps them; else none.
    """

    kind: str
    arguments: Mapping[str, Any]
    values: Mapping[str, Any]
    weights: Sequence[np.ndarray] = ()

    @classmethod
    def of(cls, callback: keras.callbacks.Callback) -> "CallbackState":
        """The present state of a callback."""
        kind = type(callback)
        arguments = {name: _as_json(getattr(callback, name)) for name in _ARGUMENTS[kind]}
        # Keras changes the sign of the other when training begins.
        arguments["min_delta"] = abs(_as_json(callback.min_delta))
        values = {name: _as_json(getattr(callback, name, None)) for name in _VALUES[kind]}
        weights = getattr(callback, "best_weights", None) or ()
        return cls(kind.__name__, arguments, values, list(weights))

    @property
    def has_stopped(self) -> bool:
        """Whether the callback has ended the training."""
        return (self.values.get("stopped_epoch") or 0) > 0

    def restore(self, callback: keras.callbacks.Callback) -> None:
        """Gives a callback, whose training has begun, this state."""
        for name, value in self.values.items():
            setattr(callback, name, value)
        if self.weights:
            callback.best_weights = list(self.weights)


def check_callbacks(callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Raises a ValueError if a callback is of a class whose state is not known."""
    unknown = [type(each).__name__ for each in callbacks if type(each) not in _VALUES]
    if unknown:
        raise ValueError(
            f"Expected `callbacks` of {[each.__name__ for each in _VALUES]}, whose state can be "
            f"kept. Received: {unknown}. Give others to `fit` alone"
        )


def expect_beginning(callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Prepares callbacks for `require_begun`."""
    for each in callbacks:
        each.wait = _NOT_BEGUN


def require_begun(callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Raises a ValueError if the training of a callback has not begun before this call."""
    late = [type(each).__name__ for each in callbacks if each.wait == _NOT_BEGUN]
    if late:
        raise ValueError(
            "Expected the `callbacks` of `ResumableTraining` in those of `fit`, before it. "
            f"Received: {late} behind it or missing. Pass `callbacks=[*callbacks, state]`"
        )


def require_same_callbacks(
    path: Path, expected: Sequence[CallbackState], received: Sequence[CallbackState]
) -> None:
    """Raises a ValueError if callbacks are not those of an interrupted training.

    Args:
        path: The state of the interrupted training.
        expected: Those of the interrupted training.
        received: Those of this one.
    """
    both = [[(each.kind, dict(each.arguments)) for each in side] for side in (expected, received)]
    if both[0] != both[1]:
        raise ValueError(
            f"Expected the `callbacks` of the interrupted training in {str(path)!r}, {both[0]}. "
            f"Received: {both[1]}. Pass those, or remove the file to start over"
        )


def _as_json(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return np.asarray(keras.ops.convert_to_numpy(value)).tolist()
