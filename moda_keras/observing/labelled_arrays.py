"""Validates samples and labels in arrays."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from moda_keras.messages import listed
from moda_keras.ops import check_labels

FROM_DATASET = "Of a dataset take arrays first, as in `x, y = next(iter(dataset))`"


def check_labelled_arrays(x: Any, y: Any, num_classes: int) -> tuple[Any, np.ndarray]:
    """Inputs as NumPy arrays, and labels as class indices.

    Args:
        x: Array of N samples, of numbers or strings, or a list or dict of arrays for a model of
            several inputs, with None for an optional input.
        y: Labels: integers (N,) or (N, 1), or one-hot (N, C).
        num_classes: C, the number of classes.

    Returns:
        The inputs, in the same structure, and an int64 array (N,).

    Raises:
        ValueError: If there are no labels or no samples, their numbers differ, a label is no
            class, or the inputs are no arrays.
    """
    refuse_dataset(x)
    if y is None:
        raise ValueError("Expected labels in `y`. Received: y=None")
    refuse_dataset(y, "y")
    y = np.asarray(y)
    _check_whole_numbers(y, num_classes)
    check_labels(y, num_classes)
    is_one_hot = y.ndim == 2 and y.shape[1] > 1
    y = y.argmax(axis=1) if is_one_hot else y.reshape(-1).astype("int64")
    x = keras.tree.map_structure(_as_array, x) if _is_structure(x) else _as_array(x)
    if not keras.tree.flatten(x):
        raise ValueError(f"Expected data in `x`. Received: x={x!r}")
    for values in _given(x):
        if not _holds_values(values) or values.shape[:1] != y.shape:
            raise ValueError(
                "Expected `x` to be an array with one sample for each label, or a list or dict of "
                f"such arrays. Received: an array of shape {values.shape} and dtype "
                f"{values.dtype}, and {len(y)} labels. {FROM_DATASET}"
            )
    if not len(y):
        raise ValueError("Expected at least one sample. Received: `x` and `y` of none")
    return x, y


def check_data(x: Any, inputs: int) -> None:
    """Raises a ValueError if data of a model is none, or arrays that are not one for each input.

    Args:
        x: Data: anything that `fit` takes.
        inputs: How many inputs the model has.
    """
    if "x_train" in dir(x):  # reading the attribute may read a whole stream
        raise ValueError(
            f"Expected `x` to be samples. Received: a {type(x).__name__}. Pass its `x_train` and "
            "`y_train`"
        )
    given = [each for each in keras.tree.flatten(x) if each is not None]
    if not given:
        raise ValueError(f"Expected data in `x`. Received: x={x!r}")
    if isinstance(x, (list, tuple)) and is_arrays(x) and len(given) > inputs:
        raise ValueError(
            f"Expected `x` to have one array for each of the model's {inputs} inputs. Received: a "
            f"{type(x).__name__} of {len(given)}. Pass labels as `y`, and batches as a generator"
        )


def check_shapes(x: Any, y: Any, inputs: Sequence[Any]) -> None:
    """Raises a ValueError if arrays have other numbers of samples, or other shapes, than needed.

    Args:
        x: Data: anything that `fit` takes; only arrays are looked at.
        y: Labels, or None.
        inputs: The model's inputs, symbolic tensors.
    """
    if not is_arrays(x):
        return
    given = [each for each in keras.tree.flatten(x) if each is not None]
    samples = {len(each) for each in given if len(each.shape)}
    labels = len(y) if len(getattr(y, "shape", ())) else None
    if len(samples) > 1 or (labels is not None and samples and labels not in samples):
        of_labels = "" if labels is None else f" and {labels} labels in `y`"
        raise ValueError(
            "Expected one number of samples in `x` and `y`. Received: "
            f"{sorted(samples)} samples in `x`{of_labels}"
        )
    if len(inputs) != 1 or len(given) != 1:
        return
    expected, received = tuple(inputs[0].shape)[1:], tuple(given[0].shape)[1:]
    fits = all(n in (None, m) for n, m in zip(expected, received, strict=False))
    if len(expected) == len(received) and not fits:
        raise ValueError(
            f"Expected samples of shape {expected} for the model's input {inputs[0].name!r}. "
            f"Received: `x` of shape {tuple(given[0].shape)}"
        )


def check_batch_size(batch_size: Any, *, is_optional: bool = True) -> None:
    """Raises a ValueError unless a batch size is a positive int, or None where it may be."""
    check_positive("batch_size", batch_size, is_optional=is_optional)


def check_steps(steps: Any) -> None:
    """Raises a ValueError unless a number of batches is a positive int or None."""
    check_positive("steps", steps, is_optional=True)


def check_positive(name: str, value: Any, *, is_optional: bool = False) -> None:
    """Raises a ValueError unless an argument is a positive int, or None where it may be."""
    if value is None and is_optional:
        return
    is_int = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_int or value < 1:
        raise ValueError(f"Expected `{name}` to be a positive int. Received: {name}={value!r}")


def as_class_indices(y: Any, class_names: Sequence[str] | None) -> Any:
    """Labels as an array; names of classes become class indices.

    Args:
        y: Labels, an array or a list: integers, one-hot rows, or names of classes. Anything else,
            such as None, is returned as it is.
        class_names: C names, or None.

    Returns:
        Array, or `y`.

    Raises:
        ValueError: If labels are names and `class_names` is missing or does not have one of them.
    """
    if isinstance(y, (list, tuple)):
        y = np.asarray(y)
    if not isinstance(y, np.ndarray) or y.dtype.kind not in "OSU":
        return y
    if all(isinstance(label, (int, np.integer)) for label in y.flat):
        return y.astype("int64")  # columns of tables are often of objects
    y = np.array([str(_decode(label)) for label in y.flat])
    found = sorted(set(y.tolist()))
    if class_names is None:
        raise ValueError(
            "Expected `class_names`, in the order of the model's outputs, for labels that are "
            f"names. Received: class_names=None and the labels {listed(found)}"
        )
    index = {str(name): i for i, name in enumerate(class_names)}
    unknown = [name for name in found if name not in index]
    if unknown:
        raise ValueError(
            f"Expected labels among `class_names`, {listed(index)}. Received: labels "
            f"{listed(unknown)}"
        )
    return np.array([index[label] for label in y.tolist()])


def refuse_dataset(values: Any, name: str = "x") -> None:
    """Raises a ValueError with advice if samples come in batches or one by one.

    Args:
        values: What was given for arrays.
        name: Of the argument.
    """
    if is_dataset(values):
        raise ValueError(
            f"Expected `{name}` to be an array, or a list or dict of arrays. Received: a "
            f"{type(values).__name__}. {FROM_DATASET}"
        )


def is_dataset(values: Any) -> bool:
    """Whether samples come in batches or one by one: a dataset, a loader or a generator.

    Args:
        values: Inputs or labels.

    Returns:
        Bool; False for arrays, and for lists and dicts of them.
    """
    if isinstance(values, keras.utils.PyDataset):
        return True
    is_array = hasattr(values, "__array__") or hasattr(values, "shape")
    return (
        isinstance(values, Iterable)
        and not is_array
        and not isinstance(values, (Sequence, Mapping))
    )


def is_arrays(x: Any) -> bool:
    """Whether data is an array, or a list or dict of arrays, with None for optional inputs."""
    given = _given(x)
    return bool(given) and all(
        hasattr(each, "shape") and hasattr(each, "__getitem__") for each in given
    )


def sample_of_arrays(x: Any, samples: int, seed: int = 0) -> Any:
    """A random sample of the rows of arrays, in their own order; all if there are no more.

    Args:
        x: Array of N samples, or a list or dict of arrays.
        samples: How many rows to take.
        seed: Seed of the draw.

    Returns:
        Array or arrays in the same structure.
    """
    length = number_of_samples(x)
    if length <= samples:
        return x
    rows = np.sort(np.random.default_rng(seed).permutation(length)[:samples])
    return take_samples(x, rows)


def number_of_samples(x: Any) -> int:
    """N, the number of samples in an array or in a list or dict of arrays."""
    return len(_given(x)[0])


def take_samples(x: Any, index: Any) -> Any:
    """The chosen samples of every input.

    Args:
        x: Array of N samples, or a list or dict of arrays, with None for optional inputs.
        index: Slice, or array of ints or bools, for the first axis.

    Returns:
        Array or arrays in the same structure.
    """
    return keras.tree.map_structure(lambda values: _take(values, index), x)


def _take(values: Any, index: Any) -> Any:
    if values is None:
        return None
    if hasattr(values, "iloc"):  # Pandas takes other keys for names of columns
        return values.iloc[index]
    if keras.ops.is_tensor(values):  # TensorFlow's tensors take no arrays
        values = keras.ops.convert_to_numpy(values)
    return values[index]


def _given(x: Any) -> list:
    """The arrays, flat, without the optional inputs that are not given."""
    return [values for values in keras.tree.flatten(x) if values is not None]


def loadable(x: Any) -> Any:
    """Inputs with arrays of strings as tensors: Keras refuses arrays of them.

    Args:
        x: Anything that `predict` takes.

    Returns:
        The inputs, in the same structure.
    """
    return keras.tree.map_structure(
        lambda each: keras.ops.convert_to_tensor(each) if _holds_objects(each) else each, x
    )


def _holds_objects(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.dtype == object


def draw_of_each_class(
    y: np.ndarray,
    classes: Iterable[int],
    number: int | float | None,
    seed: int | np.random.Generator = 0,
) -> list[np.ndarray]:
    """Random samples of each class.

    Args:
        y: Labels, integers (N,).
        classes: The classes to draw from.
        number: How many samples of each class at most: an int; or a float in (0, 1], that fraction
            of the class's samples, at least one; or None for all of them.
        seed: Seed or generator of the draw.

    Returns:
        For each class an int array of positions in `y`, in random order.
    """
    random = np.random.default_rng(seed)
    drawn = []
    for label in classes:
        rows = random.permutation(np.flatnonzero(y == label))
        is_fraction = isinstance(number, float)
        drawn.append(rows[: max(1, round(number * len(rows))) if is_fraction else number])
    return drawn


def _check_whole_numbers(y: np.ndarray, num_classes: int) -> None:
    if y.dtype.kind not in "biuf":
        raise ValueError(
            f"Expected `y` to be class indices or one-hot rows. Received: y of dtype {y.dtype}"
        )
    if y.ndim == 2 and y.shape[1] == num_classes:
        return
    broken = y[y != np.floor(y)]
    if broken.size:
        raise ValueError(
            f"Expected integer labels in `y`, from 0 to {num_classes - 1}. Received: "
            f"{broken.size} of {y.size} that are not, the first {broken.flat[0]}"
        )


def _as_array(values: Any) -> np.ndarray | None:
    """The array; strings as `str` objects, the only form in which Keras accepts them."""
    if values is None:
        return None
    array = np.asarray(values)
    is_string = array.dtype.kind in "USO"
    return np.asarray(_decoded(array.astype(object)), object) if is_string else array


def _decode(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


_decoded = np.frompyfunc(_decode, 1, 1)


def _holds_values(array: np.ndarray) -> bool:
    """Whether it is of numbers or strings, not of any other objects."""
    return array.dtype != object or all(isinstance(each, str) for each in array.flat)


def _is_structure(x: Any) -> bool:
    """Whether it is a dict, or a list of arrays rather than of numbers, however deep."""
    is_list = isinstance(x, (list, tuple))
    leaves = keras.tree.flatten(x) if is_list else ()
    return isinstance(x, dict) or any(hasattr(each, "shape") for each in leaves)
