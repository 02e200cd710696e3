"""Modules: the units of a model that each class needs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from moda_keras.graph import HiddenActivation
from moda_keras.modules.archive import ModuleTables, write_archive
from moda_keras.modules.class_names import (
    check_class_names,
    class_indices,
    module_index,
    require_module,
)
from moda_keras.modules.counts import check_count_tables, check_tables, require_tables
from moda_keras.modules.module import Module
from moda_keras.modules.selection import (
    Threshold,
    check_threshold,
    complete_units,
    frequencies,
    label_of,
    select_modules,
)
from moda_keras.slicing import Plan, Slicer


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
        importance: Dict from activation name to a float64 array (C, D): how much a class depends on
            a unit, by the criterion. It adds up over classes. None if it was not measured.
        criterion: Name of the criterion of `decompose`; None for modules made by `from_units`.
        subtask: Tuple of class indices: the classes for which the units were chosen as a whole, and
            which alone can be composed; None for all.

    Indexing by class index or name gives a `Module`; iteration goes over all of them, or those of
    the sub-task.

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
        importance: Mapping[str, np.ndarray] | None = None,
        criterion: str | None = None,
        subtask: Iterable[int] | None = None,
        slicer: Slicer | None = None,
    ):
        self.model = model
        self._slicer = slicer
        self.units = dict(units)
        self.class_names = tuple(class_names)
        self.threshold = threshold
        self.activation_counts = None if activation_counts is None else dict(activation_counts)
        self.sample_counts = sample_counts
        self.epsilons = None if epsilons is None else dict(epsilons)
        self.importance = None if importance is None else dict(importance)
        self.criterion = criterion
        self.subtask = None if subtask is None else tuple(int(index) for index in subtask)

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
        importance: Mapping[str, np.ndarray] | None = None,
        criterion: str = "frequency",
        slicer: Slicer | None = None,
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
            importance: Dict from activation name to a float array (C, D), to be kept likewise.
            criterion: Name of what measured the importance.
            slicer: A slicer of the model, if there is one already.

        Returns:
            A `ModuleSet`.

        Raises:
            ValueError: If counts are not whole numbers from 0 to the samples of their class, a
                table does not fit the model, or another argument is invalid.
        """
        slicer = slicer or (model and Slicer(model))
        tables = check_count_tables(
            slicer, activation_counts, sample_counts, importance=importance, epsilons=epsilons
        )
        threshold = check_threshold(threshold, list(tables.counts))
        return cls(
            model,
            select_modules(tables.counts, tables.sample_counts, threshold),
            check_class_names(class_names, len(tables.sample_counts)),
            threshold=threshold,
            activation_counts=tables.counts,
            sample_counts=tables.sample_counts,
            epsilons=tables.epsilons,
            importance=tables.importance,
            criterion=criterion,
            slicer=slicer,
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
            ValueError: If a name is not a hidden activation of the model, or a shape is wrong.
        """
        slicer = Slicer(model)
        model = slicer.model
        classes = model.outputs[0].shape[-1]
        require_tables("units", units)
        checked = complete_units(units, slicer.units, classes)
        return cls(model, checked, check_class_names(class_names, classes), slicer=slicer)

    @property
    def num_classes(self) -> int:
        """C, the number of classes of the model."""
        return len(self.class_names)

    @property
    def hidden_activations(self) -> list[HiddenActivation]:
        """The model's hidden activations, in the order of execution."""
        return self.slicer.hidden_activations

    @cached_property
    def frequency(self) -> dict[str, np.ndarray]:
        """How often each unit is active, by activation name.

        Float64 arrays (C, D): the fraction of a class's samples that activate a unit; 0 for a class
        without samples.
        """
        self.require_counts("frequency")
        return {
            name: frequencies(counts, self.sample_counts)
            for name, counts in self.activation_counts.items()
        }

    @property
    def slicer(self) -> Slicer:
        """What slices the model. Module sets at other thresholds share it."""
        if self._slicer is None:
            self._slicer = Slicer(self.model)
        return self._slicer

    def __len__(self) -> int:
        return self.num_classes if self.subtask is None else len(self.subtask)

    def __iter__(self) -> Iterator["Module"]:
        every = range(self.num_classes)
        return (Module(self, i) for i in (every if self.subtask is None else sorted(self.subtask)))

    def __getitem__(self, key: int | str) -> "Module":
        """The module of a class, by index or name."""
        return Module(self, module_index(key, self.class_names, self.subtask))

    def __repr__(self) -> str:
        return (
            f"<ModuleSet of {self.model.name!r}: {self.num_classes} classes, "
            f"{len(self.units)} activations, threshold={self.threshold_label}>"
        )

    @property
    def threshold_label(self) -> str:
        """The threshold in few characters: "0.9", "0.2-0.95" for a dict, or "none"."""
        return label_of(self.threshold)

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
            importance=self.importance,
            criterion=self.criterion,
            slicer=self._slicer or (self.model and self.slicer),
        )

    def with_units(
        self, units: Mapping[str, np.ndarray], subtask: Iterable[int] | None = None
    ) -> "ModuleSet":
        """Modules of other units, with the same counts and importance.

        Args:
            units: Dict from the name of every hidden activation to a bool array (C, D).
            subtask: Class indices, if only these may be composed; all by default.

        Returns:
            A new `ModuleSet`, whose threshold is None.
        """
        sizes = {name: table.shape[1] for name, table in self.units.items()}
        check_tables("units", units, sizes, self.num_classes)
        checked = complete_units(units, sizes, self.num_classes)
        if subtask is not None:
            subtask = class_indices(subtask, self.class_names)
            for index in subtask:
                require_module(index, self.class_names, self.sample_counts, None)
        return ModuleSet(
            self.model,
            checked,
            self.class_names,
            activation_counts=self.activation_counts,
            sample_counts=self.sample_counts,
            epsilons=self.epsilons,
            importance=self.importance,
            criterion=self.criterion,
            subtask=subtask,
            slicer=self._slicer or (self.model and self.slicer),
        )

    if TYPE_CHECKING:  # `moda_keras.api` binds these: most reach into rooms further down.

        def compose(self, classes: Iterable[int | str], **options: Any) -> keras.Model:
            """See `moda_keras.compose`."""

        def summary(self, **options: Any) -> None: ...

        def merge(self, *others: "ModuleSet") -> "ModuleSet":
            """See `moda_keras.modules.merging.merge`; `ModuleSet.merge([...])` works too."""

        def tune_threshold(
            self, x_val: Any, y_val: Any = None, max_accuracy_loss: float = 0.01, **options: Any
        ) -> "ModuleSet":
            """See `moda_keras.tuning.tune_threshold`."""

        def within(self, **budget: Any) -> "ModuleSet":
            """See `moda_keras.tuning.within`."""

        def diagnose(self, x_test: Any = None, y_test: Any = None, **options: Any) -> list[Any]:
            """See `moda_keras.diagnosis.diagnose`."""

    def resolve_classes(self, classes: Iterable[int | str]) -> np.ndarray:
        """Class indices of a list of classes, in the same order.

        Args:
            classes: Class indices or names, at least one, each once.

        Returns:
            Int array (k,).

        Raises:
            ValueError: If the list is empty, or a class is unknown, given twice, had no training
                sample, or is not of the sub-task for which the units were chosen.
        """
        indices = class_indices(classes, self.class_names)
        for index in indices:
            require_module(index, self.class_names, self.sample_counts, self.subtask)
        return np.array(indices, "int64")

    def classes_with_modules(self) -> np.ndarray:
        """Int array: the classes that have modules.

        All but those without training samples and those outside the sub-task, if there is one.
        """
        if self.subtask is not None:
            return np.sort(self.subtask)
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

    def plan(self, classes: Iterable[int | str], *, logits: bool = False, align: int = 1) -> Plan:
        """What the model of these classes keeps, without building it.

        Args:
            classes: Class indices or names, at least one, each once.
            logits: Whether to leave out the output activation (softmax).
            align: As in `compose`.

        Returns:
            A `moda_keras.slicing.Plan`; `slicer.build` makes a Keras model of it.
        """
        indices = self.resolve_classes(classes)
        return self.slicer.plan(self.union(indices), indices, logits=logits, align=align)

    def save(
        self,
        path: str | Path,
        overwrite: bool = False,
        *,
        model_file: str | Path | None = None,
    ) -> None:
        """Saves model and modules as one file, to be read by `moda_keras.load_modules`.

        Args:
            path: Where to.
            overwrite: Whether an existing file may be replaced.
            model_file: A .keras file that holds the model already. The module file then refers to
                it, by its relative path and its digest, instead of holding a copy of the model:
                keep the two together, and the model file as it is.

        Raises:
            FileExistsError: If the file exists and `overwrite` is False.
            FileNotFoundError: If `model_file` does not exist.
            ValueError: If `model_file` is not a .keras file, or does not hold this very model.
        """
        has_counts = self.activation_counts is not None
        tables = ModuleTables(
            class_names=self.class_names,
            tables=self.activation_counts if has_counts else self.units,
            sample_counts=self.sample_counts if has_counts else None,
            threshold=self.threshold,
            epsilons=self.epsilons,
            importance=self.importance,
            criterion=self.criterion,
            units=self.units if has_counts and self.threshold is None else None,
            subtask=self.subtask,
        )
        write_archive(path, self.model, tables, overwrite=overwrite, model_file=model_file)

    def require_counts(self, what: str) -> None:
        """Raises a ValueError that names the caller if there are no frequencies."""
        if self.activation_counts is None:
            raise ValueError(
                f"`{what}` needs the frequencies that `decompose` counts. Received: modules made "
                "from units alone"
            )
