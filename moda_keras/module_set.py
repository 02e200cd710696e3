"""Modules: the units of a model that each class needs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from moda_keras import graph
from moda_keras.graph import HiddenActivation
from moda_keras.slicing import Slicer

if TYPE_CHECKING:
    from moda_keras.diagnosis import Finding

# A class keeps at least this fraction of the units of every activation.
MINIMUM_FRACTION = 0.005

# One for all hidden activations, or one for each by name.
Threshold = float | Mapping[str, float]


class ModuleSet:
    """The modules of a model, one for each class.

    A module is the set of units, per hidden activation, that a class needs, plus the class's logit.
    `decompose` makes module sets; `ModuleSet.from_units` takes modules found by any other means.

    Attributes:
        model: The Keras model that was decomposed.
        class_names: Tuple of C names.
        threshold: Float in [0, 1], or a dict with one for each hidden activation; None for modules
            made by `from_units`.
        units: Dict from activation name to a bool array (C, D): the units of each class.
        activation_counts: Dict from activation name to an int64 array (C, D): how many training
            samples of a class activate a unit. None for modules made by `from_units`.
        sample_counts: Int64 array (C,), the training samples of each class; None likewise.
        epsilons: Dict from activation name to the magnitude above which a unit counted as active,
            0 where an activation has exact zeros; None if that is not known.

    Indexing by class index or name gives a `Module`; iteration goes over all of them.

    Source: MODA (ICSE 2026), section 3.2 and equation 9.
    """

    def __init__(
        self,
        model: keras.Model,
        units: Mapping[str, np.ndarray],
        class_names: Sequence[str],
        *,
        threshold: Threshold | None = None,
        activation_counts: Mapping[str, np.ndarray] | None = None,
        sample_counts: np.ndarray | None = None,
        epsilons: Mapping[str, float] | None = None,
    ):
        self.model = model
        self.units = dict(units)
        self.class_names = tuple(class_names)
        self.threshold = threshold
        self.activation_counts = None if activation_counts is None else dict(activation_counts)
        self.sample_counts = sample_counts
        self.epsilons = None if epsilons is None else dict(epsilons)

    @classmethod
    def from_counts(
        cls,
        model: keras.Model,
        activation_counts: Mapping[str, np.ndarray],
        sample_counts: np.ndarray,
        *,
        threshold: Threshold = 0.9,
        class_names: Sequence[str] | None = None,
        epsilons: Mapping[str, float] | None = None,
    ) -> "ModuleSet":
        """Modules from how often each unit is active.

        Args:
            model: The Keras model.
            activation_counts: Dict from activation name to an int array (C, D): how many samples of
                each class activate each unit.
            sample_counts: Int array (C,), the samples of each class.
            threshold: A unit is in a class's module if at least this fraction of the class's
                samples activates it. A float in [0, 1], or a dict from activation name to one.
            class_names: C names; "0", "1", ... by default.
            epsilons: Dict from activation name to the magnitude above which a unit counted as
                active, to be kept with the modules.

        Returns:
            A `ModuleSet`.
        """
        sample_counts = np.asarray(sample_counts, "int64")
        counts = {name: np.asarray(values, "int64") for name, values in activation_counts.items()}
        threshold = check_threshold(threshold, list(counts))
        each = threshold if isinstance(threshold, dict) else dict.fromkeys(counts, threshold)
        units = {
            name: select_units(_frequency(values, sample_counts), sample_counts > 0, each[name])
            for name, values in counts.items()
        }
        return cls(
            model,
            units,
            check_class_names(class_names, len(sample_counts)),
            threshold=threshold,
            activation_counts=counts,
            sample_counts=sample_counts,
            epsilons=epsilons,
        )

    @classmethod
    def from_units(
        cls,
        model: keras.Model,
        units: Mapping[str, Any],
        class_names: Sequence[str] | None = None,
    ) -> "ModuleSet":
        """Modules found by any means.

        Args:
            model: A built Functional or Sequential model with one output (batch, C).
            units: Dict from the name of each hidden activation to a bool array (C, D). An
                activation left out keeps all of its units in every module.
            class_names: C names; "0", "1", ... by default.

        Returns:
            A `ModuleSet`.

        Raises:
            ValueError: If a name is none of the model's hidden activations, or a shape is wrong.
        """
        graph.require_graph(model)
        graph.require_single_output(model)
        classes = model.outputs[0].shape[-1]
        hidden = {h.name: h for h in graph.find_hidden_activations(model)}
        unknown = sorted(set(units) - set(hidden))
        if unknown:
            raise ValueError(
                f"Unknown activation in `units`. Expected names among {list(hidden)}. Received: "
                f"{unknown}"
            )
        checked = {
            name: _check_units(name, units[name], (classes, h.units))
            if name in units
            else np.ones((classes, h.units), bool)
            for name, h in hidden.items()
        }
        return cls(model, checked, check_class_names(class_names, classes))

    # ---------------------------------------------------------------------------------- reading

    @property
    def num_classes(self) -> int:
        """C, the number of classes of the model."""
        return len(self.class_names)

    @cached_property
    def hidden_activations(self) -> list[HiddenActivation]:
        """The model's hidden activations, in the order of execution."""
        return graph.find_hidden_activations(self.model)

    @cached_property
    def frequency(self) -> dict[str, np.ndarray]:
        """How often each unit is active, by activation name.

        Float64 arrays (C, D): the fraction of a class's samples that activate a unit; 0 for a class
        without samples.
        """
        self.require_counts("frequency")
        return {
            name: _frequency(counts, self.sample_counts)
            for name, counts in self.activation_counts.items()
        }

    @cached_property
    def slicer(self) -> Slicer:
        """What slices the model; shared by all that looks at sliced models of it."""
        return Slicer(self.model)

    def __len__(self) -> int:
        return self.num_classes

    def __iter__(self) -> Iterator["Module"]:
        return (Module(self, index) for index in range(self.num_classes))

    def __getitem__(self, key: int | str) -> "Module":
        """The module of a class, by index or name."""
        if isinstance(key, Integral) and not 0 <= key < self.num_classes:
            raise IndexError(self._unknown(key))
        return Module(self, self._class_index(key))

    def __repr__(self) -> str:
        return (
            f"<ModuleSet of {self.model.name!r}: {self.num_classes} classes, "
            f"{len(self.units)} activations, threshold={self.threshold_label}>"
        )

    @property
    def threshold_label(self) -> str:
        """The threshold in few characters: "0.9", "0.2-0.95" for a dict, or "none"."""
        if isinstance(self.threshold, dict):
            return f"{min(self.threshold.values()):.4g}-{max(self.threshold.values()):.4g}"
        return "none" if self.threshold is None else f"{self.threshold:.4g}"

    def with_threshold(self, threshold: Threshold) -> "ModuleSet":
        """The modules at another threshold, with no second pass over the data.

        Args:
            threshold: Float in [0, 1], or a dict with one for each hidden activation.

        Returns:
            A new `ModuleSet`.

        Raises:
            ValueError: If the modules were made by `from_units`, a threshold is not in [0, 1], or a
                dict does not have the activations' names.
        """
        self.require_counts("with_threshold")
        return ModuleSet.from_counts(
            self.model,
            self.activation_counts,
            self.sample_counts,
            threshold=threshold,
            class_names=self.class_names,
            epsilons=self.epsilons,
        )

    def tune_threshold(
        self,
        x_val: Any,
        y_val: Any,
        max_accuracy_loss: float = 0.01,
        *,
        per_layer: bool = False,
        **options: Any,
    ) -> "ModuleSet":
        """The smallest modules within a loss of accuracy, with no pass over training data.

        Args:
            x_val: Validation inputs, an array of N samples, or a list or dict of arrays for a model
                of several inputs. Not the data on which figures will be reported.
            y_val: Labels: integers (N,) or one-hot (N, C).
            max_accuracy_loss: Float in [0, 1): by how much the composed models' accuracy may be
                below the full model's, which chooses among the same classes.
            per_layer: Whether to find a threshold for each hidden activation.
            **options: Further arguments of `moda_keras.tuning.tune_threshold`: which sub-tasks, and
                whether their mean or the worst counts.

        Returns:
            A new `ModuleSet`; its `threshold` is what was chosen.

        Raises:
            ValueError: As `moda_keras.tuning.tune_threshold`.

        Example:
            ```python
            modules = mk.decompose(model, x_train, y_train)
            modules = modules.tune_threshold(x_val, y_val, max_accuracy_loss=0.01)
            ```
        """
        from moda_keras.tuning import tune_threshold

        return tune_threshold(self, x_val, y_val, max_accuracy_loss, per_layer=per_layer, **options)

    def diagnose(
        self, x_test: Any = None, y_test: Any = None, *, history: Any = None, **options: Any
    ) -> "list[Finding]":
        """Looks for the known signs of modules that are not what they could be.

        Signs that need what is not given are not looked for.

        Args:
            x_test: Test inputs, an array of N samples, or a list or dict of arrays.
            y_test: Labels: integers (N,) or one-hot (N, C).
            history: What `fit` with a `modular_loss` returned, its `history` dict, or the path of a
                file that `keras.callbacks.CSVLogger` wrote.
            **options: Further arguments of `moda_keras.diagnosis.diagnose`.

        Returns:
            List of `moda_keras.diagnosis.Finding`s, problems first: each with its figures, a
            message and a remedy. Empty if no sign was found.

        Raises:
            ValueError: If test data or history are not what is expected.

        Example:
            ```python
            for finding in modules.diagnose(x_test, y_test, history=history):
                print(finding.severity, finding.message, finding.remedy)
            ```
        """
        from moda_keras.diagnosis import diagnose

        return diagnose(self, x_test, y_test, history=history, **options)

    def resolve_classes(self, classes: Iterable[int | str]) -> np.ndarray:
        """Class indices of a list of classes, in the same order.

        Args:
            classes: Class indices or names, at least one, each once.

        Returns:
            Int array (k,).

        Raises:
            ValueError: If the list is empty, or a class is unknown, given twice, or had no training
                sample.
        """
        if isinstance(classes, (str, Integral)) or not isinstance(classes, Iterable):
            raise ValueError(
                "Expected `classes` to be a list of class indices or names. Received: "
                f"classes={classes!r}"
            )
        classes = list(classes)
        if not classes:
            raise ValueError("Expected at least one class in `classes`. Received: classes=[]")
        indices = [self._class_index(key) for key in classes]
        repeated = sorted({i for i in indices if indices.count(i) > 1})
        if repeated:
            raise ValueError(
                "Duplicate class in `classes`. Expected each class once. Received: "
                f"classes={classes}, in which class {repeated[0]} "
                f"({self.class_names[repeated[0]]!r}) is repeated"
            )
        for index in indices:
            self._require_samples(index)
        return np.array(indices, "int64")

    def classes_with_modules(self) -> np.ndarray:
        """Int array: the classes that have modules, all but those without training samples."""
        if self.sample_counts is None:
            return np.arange(self.num_classes)
        return np.flatnonzero(self.sample_counts)

    def union(self, classes: Iterable[int | str]) -> dict[str, np.ndarray]:
        """The units that any of these classes needs.

        Args:
            classes: Class indices or names, at least one, each once.

        Returns:
            Dict from activation name to a bool array (D,).
        """
        indices = self.resolve_classes(classes)
        return {name: units[indices].any(axis=0) for name, units in self.units.items()}

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Saves model and modules as one file, to be read by `moda_keras.load_modules`.

        Args:
            path: Where to.
            overwrite: Whether an existing file may be replaced.

        Raises:
            FileExistsError: If the file exists and `overwrite` is False.
        """
        from moda_keras.module_file import save_modules

        save_modules(self, path, overwrite=overwrite)

    def _class_index(self, key: int | str) -> int:
        if isinstance(key, str) and key in self.class_names:
            return self.class_names.index(key)
        is_index = isinstance(key, Integral) and not isinstance(key, (bool, np.bool_))
        if is_index and 0 <= key < self.num_classes:
            return int(key)
        raise ValueError(self._unknown(key))

    def _unknown(self, key: Any) -> str:
        names = list(self.class_names)
        shown = names if len(names) <= 20 else [*names[:20], "..."]
        return (
            f"Unknown class. Expected an integer from 0 to {self.num_classes - 1} or one of "
            f"{shown}. Received: {key!r}"
        )

    def require_counts(self, what: str) -> None:
        """Raises a ValueError that says what needs frequencies, if there are none."""
        if self.activation_counts is None:
            raise ValueError(
                f"`{what}` needs the frequencies that `decompose` counts. Received: modules made "
                "from units alone"
            )

    def _require_samples(self, index: int) -> None:
        if self.sample_counts is not None and self.sample_counts[index] == 0:
            raise ValueError(
                "Expected classes that had training samples when the model was decomposed. "
                f"Received: class {index} ({self.class_names[index]!r}), which had none"
            )


class Module:
    """The module of one class: a view into a `ModuleSet`.

    Attributes:
        modules: The `ModuleSet`.
        class_index: Int.
    """

    def __init__(self, modules: ModuleSet, class_index: int):
        self.modules = modules
        self.class_index = class_index

    @property
    def class_name(self) -> str:
        """Name of the class."""
        return self.modules.class_names[self.class_index]

    @property
    def units(self) -> dict[str, np.ndarray]:
        """Dict from activation name to a bool array (D,)."""
        return {name: units[self.class_index] for name, units in self.modules.units.items()}

    @property
    def size(self) -> float:
        """Trainable parameters of the module as a model of its own, over those of the original."""
        from moda_keras.metrics import composed_size

        return composed_size(self.modules, [self.class_index])

    def to_model(self, name: str | None = None) -> keras.Model:
        """The module as a plain Keras model with the class's output alone, (batch, 1)."""
        from moda_keras.composition import compose

        return compose(self.modules, [self.class_index], name=name)

    def __repr__(self) -> str:
        kept = sum(int(units.sum()) for units in self.units.values())
        total = sum(len(units) for units in self.units.values())
        return f"<Module of class {self.class_index} ({self.class_name!r}): {kept}/{total} units>"


def select_units(frequency: np.ndarray, has_samples: np.ndarray, threshold: float) -> np.ndarray:
    """Membership of the units of one activation (MODA, eq. 9, and its rule for tiny modules).

    A class left with less than half a percent of the units keeps its most frequently active ones
    instead, as many as the largest module has.

    Args:
        frequency: Float array (C, D), the fraction of a class's samples that activate a unit.
        has_samples: Bool array (C,). A class without samples gets no unit.
        threshold: Float in [0, 1].

    Returns:
        Bool array (C, D).
    """
    units = (frequency >= threshold) & has_samples[:, np.newaxis]
    sizes = units.sum(axis=1)
    minimum = max(1, int(MINIMUM_FRACTION * frequency.shape[1]))
    refill = max(int(sizes.max(initial=0)), minimum)
    for index in np.flatnonzero((sizes < minimum) & has_samples):
        most_frequent = np.argsort(-frequency[index], kind="stable")[:refill]
        units[index] = False
        units[index, most_frequent] = True
    return units


def check_class_names(class_names: Sequence[str] | None, classes: int) -> tuple[str, ...]:
    """The names as a tuple, or "0", "1", ...; a ValueError if they are not `classes` distinct ones.

    Args:
        class_names: Names, or None.
        classes: How many there must be.

    Returns:
        Tuple of str.
    """
    if class_names is None:
        return tuple(str(index) for index in range(classes))
    names = tuple(str(name) for name in class_names)
    if len(names) != classes or len(set(names)) != classes:
        raise ValueError(
            f"Expected `class_names` to be {classes} distinct names, one for each output of the "
            f"model. Received: class_names={list(names)}"
        )
    return names


def _frequency(counts: np.ndarray, sample_counts: np.ndarray) -> np.ndarray:
    return counts / np.maximum(sample_counts, 1)[:, np.newaxis]


def check_threshold(threshold: Any, activations: Sequence[str]) -> float | dict[str, float]:
    """The threshold as a float or a dict of floats; a ValueError if it is neither.

    Args:
        threshold: A number in [0, 1], or a dict from activation name to such a number.
        activations: Names of all hidden activations, each of which a dict must have.

    Returns:
        Float, or dict in the order of `activations`.
    """
    if not isinstance(threshold, Mapping):
        return _check_number("threshold", threshold)
    if set(threshold) != set(activations):
        unknown = sorted(set(threshold) - set(activations))
        missing = [name for name in activations if name not in threshold]
        raise ValueError(
            f"Expected `threshold` to be a number, or a dict with one for each of the activations "
            f"{list(activations)}. Received: a dict with the unknown names {unknown} and without "
            f"{missing}"
        )
    return {name: _check_number(f"threshold[{name!r}]", threshold[name]) for name in activations}


def _check_number(name: str, threshold: Any) -> float:
    if not isinstance(threshold, Real) or not 0 <= threshold <= 1:
        raise ValueError(f"Expected `{name}` in [0, 1]. Received: {name}={threshold!r}")
    return float(threshold)


def _check_units(name: str, units: Any, shape: tuple[int, int]) -> np.ndarray:
    array = np.asarray(units)
    if array.shape != shape or array.dtype != bool:
        raise ValueError(
            f"Expected `units[{name!r}]` to be a bool array of shape {shape}, (classes, units). "
            f"Received: an array of shape {array.shape} and dtype {array.dtype}"
        )
    return array
