"""The state of a training in one file: all that the epochs to come depend on."""

import hashlib
import io
import json
import os
import random
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from moda_keras.files import replacing
from moda_keras.ops.backends import backend
from moda_keras.training.callback_states import CallbackState

FORMAT = "moda_keras.training_state"
VERSION = 2
_HEADER, _DIGEST = "header", "digest"
_OF_CALLBACK = ("kind", "arguments", "values")


@dataclass(frozen=True, eq=False)
class TrainingState:
    """What a training goes on from.

    Attributes:
        epoch: Number of complete epochs.
        history: Dict from the name of a log to its values, one for each complete epoch.
        settings: Dict in JSON's types that tells this training from others.
        model: Every variable of the model: weights, and the states of its random layers.
        optimizer: Every variable of the optimizer.
        random: States of the generators of random numbers that the whole process shares.
        callbacks: States of Keras's callbacks.
    """

    epoch: int
    history: Mapping[str, Sequence[Any]]
    settings: Mapping[str, Any]
    model: Sequence[np.ndarray]
    optimizer: Sequence[np.ndarray]
    random: Mapping[str, Any] = field(default_factory=dict)
    callbacks: Sequence[CallbackState] = ()

    @classmethod
    def of(
        cls,
        model: keras.Model,
        epoch: int,
        history: Mapping,
        settings: Mapping,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> "TrainingState":
        """The present state of a compiled model."""
        _build_optimizer(model)
        return cls(
            epoch,
            {name: list(values) for name, values in history.items()},
            settings,
            [keras.ops.convert_to_numpy(each) for each in model.variables],
            [keras.ops.convert_to_numpy(each) for each in model.optimizer.variables],
            random_state(),
            [CallbackState.of(each) for each in callbacks],
        )

    @property
    def arrays(self) -> dict[str, Sequence[np.ndarray]]:
        """The arrays by what has them."""
        of_callbacks = {_of_callback(i): each.weights for i, each in enumerate(self.callbacks)}
        return {"model": self.model, "optimizer": self.optimizer, **of_callbacks}

    def restore(self, model: keras.Model) -> None:
        """Gives a compiled model these variables; the random numbers stay as they are.

        Raises:
            ValueError: If the variables are of other shapes; the model is then unchanged.
        """
        _build_optimizer(model)
        pairs = [(model.variables, self.model), (model.optimizer.variables, self.optimizer)]
        for (variables, values), owner in zip(pairs, ("model", "optimizer"), strict=True):
            expected = [tuple(each.shape) for each in values]
            received = [tuple(each.shape) for each in variables]
            if expected != received:
                raise ValueError(
                    f"Expected the {owner} of the interrupted training, whose variables have the "
                    f"shapes {expected}. Received: {received}. Train that model again, or choose "
                    "another file for the state"
                )
        for variables, values in pairs:
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)


def _of_callback(index: int) -> str:
    return f"callback{index}"


def _build_optimizer(model: keras.Model) -> None:
    """TensorFlow builds it in the first step, after the callbacks of the epoch's begin."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def random_state() -> dict[str, Any]:
    """The generators of Python, NumPy and the backend that the whole process shares, as JSON."""
    version, numbers, spare = random.getstate()
    name, keys, *others = np.random.get_state()
    return {
        "python": [version, list(numbers), spare],
        "numpy": [name, keys.tolist(), *others],
        **{name: state.tolist() for name, state in backend.random_state().items()},
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Sets the generators to what `random_state` returned; leaves those that it does not name."""
    state = dict(state)
    if "python" in state:
        version, numbers, spare = state.pop("python")
        random.setstate((version, tuple(numbers), spare))
    if "numpy" in state:
        name, keys, *others = state.pop("numpy")
        np.random.set_state((name, np.array(keys, "uint32"), *others))
    backend.set_random_state({name: np.array(each, "uint8") for name, each in state.items()})


def previous_of(path: str | Path) -> Path:
    """The file that keeps the state of the epoch before."""
    path = Path(path)
    return path.with_name(f"{path.name}.previous")


def write_training_state(path: str | Path, state: TrainingState) -> None:
    """Writes a state, whole or not at all, and keeps the one before as `<path>.previous`.

    At every moment one of the two files is a complete state that is on disk.

    Args:
        path: The file.
        state: The state.
    """
    path = Path(path)
    header = {
        "format": FORMAT,
        "version": VERSION if state.callbacks else 1,  # which older versions of the library read
        "keras_version": keras.__version__,
        "epoch": state.epoch,
        "history": state.history,
        "settings": state.settings,
        "random": state.random,
        "dtypes": {name: [str(v.dtype) for v in each] for name, each in state.arrays.items()},
        "callbacks": [
            {name: getattr(each, name) for name in _OF_CALLBACK} for each in state.callbacks
        ],
    }
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    arrays = {
        f"{name}_{index}": _as_plain(each)
        for name, values in state.arrays.items()
        for index, each in enumerate(values)
    }
    content = {_HEADER: text, **arrays}
    with replacing(path) as beside:
        with beside.open("wb") as file:
            np.savez(file, **content, **{_DIGEST: np.frombuffer(_digest(content), np.uint8)})
        if path.exists():
            os.replace(path, previous_of(path))


def read_training_state(path: str | Path) -> TrainingState | None:
    """Reads a state; if it cannot be read, the one of the epoch before, with a warning.

    Args:
        path: The file.

    Returns:
        The state; None if there is neither file.

    Raises:
        ValueError: If neither can be read, or it is of a newer version of the library.
    """
    path = Path(path)
    # A process that is killed between two renames leaves the previous state alone.
    found = [each for each in (path, previous_of(path)) if each.exists()]
    reasons = []
    for each in found:
        try:
            state = _read(each)
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            reasons.append(f"{str(each)!r} ({error})")
            continue
        if reasons:
            warnings.warn(
                f"The state {reasons[0]} cannot be read. The training goes on from the one before, "
                f"{str(each)!r}, after {state.epoch} epochs",
                stacklevel=2,
            )
        return state
    if reasons:
        raise ValueError(
            "Expected the state of an interrupted training. Received: "
            f"{' and '.join(reasons)}, damaged or of another origin. Remove it to start over"
        )
    return None


def remove_training_state(path: str | Path) -> None:
    """Removes a state and the one before; a kill in between leaves a state that can be read."""
    for each in (previous_of(path), Path(path)):
        if each.exists():  # asked first, for in a read-only folder even this would be an error
            each.unlink(missing_ok=True)


def _read(path: Path) -> TrainingState:
    content = _read_arrays(path)
    digest = content.pop(_DIGEST).tobytes()
    if digest != _digest(content):
        raise ValueError("its digest is another")
    header = json.loads(content.pop(_HEADER).tobytes())
    if header["format"] != FORMAT or header["version"] > VERSION:
        raise ValueError(f"it is {header['format']}, version {header['version']}")
    arrays = {
        name: [content[f"{name}_{index}"].view(dtype) for index, dtype in enumerate(dtypes)]
        for name, dtypes in header["dtypes"].items()
    }
    callbacks = [
        CallbackState(*(each[name] for name in _OF_CALLBACK), arrays.pop(_of_callback(index)))
        for index, each in enumerate(header.get("callbacks", []))
    ]
    fields = {name: header[name] for name in ("epoch", "history", "settings", "random")}
    return TrainingState(**fields, **arrays, callbacks=callbacks)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file; takes no more memory than the file has bytes."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        size = sum(each.file_size for each in members)
        is_stored = all(each.compress_type == zipfile.ZIP_STORED for each in members)
        if not is_stored or size > path.stat().st_size:
            raise ValueError("it has compressed or overlapping members")
        return {
            each.filename.removesuffix(".npy"): np.lib.format.read_array(
                io.BytesIO(archive.read(each)), allow_pickle=False
            )
            for each in members
        }


def _digest(arrays: Mapping[str, np.ndarray]) -> bytes:
    digest = hashlib.sha256()
    for name, values in arrays.items():
        digest.update(f"{name} {values.dtype} {values.shape};".encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.digest()


def _as_plain(values: np.ndarray) -> np.ndarray:
    """The same bits in a dtype that NumPy's files know: bfloat16 and the like are of others."""
    values = np.asarray(values)
    is_plain = values.dtype.kind in "biuf" and values.dtype.isbuiltin == 1
    return values if is_plain else values.view(f"u{values.dtype.itemsize}")
