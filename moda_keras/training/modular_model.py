"""A Keras model that trains for modularity."""

import functools
import threading
import warnings
from contextlib import contextmanager

import keras

from moda_keras import graph
from moda_keras.graph import Functional, HiddenActivation
from moda_keras.layers.modular_activation import collect_marked
from moda_keras.ops import masked_as_vectors
from moda_keras.ops.backends import backend
from moda_keras.training.fit_data import check_fit_data
from moda_keras.training.modular_loss import ModularLoss
from moda_keras.training.replicas import check_replicas, warn_of_separate_models
from moda_keras.training.taps import Observation, TappedModel


def _begins_forward_pass(call):
    """Keras may run `call` once more, on placeholders, to build a subclassed model's layers."""

    @functools.wraps(call)
    def forward(self, *args, **kwargs):
        state = getattr(self, "_modular", None)
        if state is None or not state.is_collecting:
            return call(self, *args, **kwargs)
        with state.forward_pass():
            return call(self, *args, **kwargs)

    return forward


class ModularModel(keras.Model):
    """A Keras model whose hidden activations `fit` can train for modularity.

    It is an ordinary model: `compile`, `fit`, `evaluate`, `predict`, saving and export are Keras's
    own. `compile(modular_loss=MODALoss(...))` adds the modular objectives to the loss; the task
    loss, affinity, dispersion and compactness appear among the metrics.

    Three ways to get one:

    - `ModularModel(inputs, outputs)`, as with `keras.Model`;
    - `ModularModel.from_model(model)` of any Functional or Sequential model, layers shared;
    - a subclass with a `call` of its own, in which `moda_keras.layers.ModularActivation` marks the
      hidden activations. It trains with the objectives, but `decompose` needs a graph.

    The hidden activations of nested Functional and Sequential models count too.

    Args:
        inputs: Input tensor of `keras.Input`, or a list or dict of them.
        outputs: Output tensor of shape (batch, classes): logits or probabilities.
        name: Name of the model.
        **kwargs: Keyword arguments of `keras.Model`.

    Raises:
        ValueError: If the model has several outputs, or no hidden activation.

    Examples:
        >>> import keras
        >>> import moda_keras as mk
        >>> inputs = keras.Input((4,))
        >>> x = keras.layers.Dense(8, activation="relu")(inputs)
        >>> model = mk.ModularModel(inputs, keras.layers.Dense(3)(x))
        >>> model.compile(
        ...     "sgd",
        ...     keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        ...     modular_loss=mk.MODALoss(alpha=1.0, beta=1.0, gamma=0.3),
        ... )

    Source: MODA (ICSE 2026).
    """

    def __new__(cls, *args, **kwargs):
        if cls is ModularModel and _has_graph_arguments(args, kwargs):
            return super().__new__(_FunctionalModularModel)
        return super().__new__(cls, *args, **kwargs)

    def __init__(self, inputs=None, outputs=None, name=None, **kwargs):
        if isinstance(inputs, keras.Model):
            raise ValueError(
                "Expected `inputs` to be tensors of `keras.Input`. Received: the model "
                f"{inputs.name!r}. Use `ModularModel.from_model(model)`"
            )
        if inputs is not None and outputs is not None:
            _derive_from_functional(type(self))
            _FunctionalModularModel.__init__(self, inputs, outputs, name=name, **kwargs)
            return
        super().__init__(name=name, **kwargs)
        self._modular = _TrainingState()

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "call" in vars(cls):
            cls.call = _begins_forward_pass(cls.call)

    @classmethod
    def from_model(cls, model: keras.Model, name: str | None = None) -> "ModularModel":
        """Makes a modular model of any Functional or Sequential model; layers are shared.

        Args:
            model: A built Functional or Sequential model.
            name: Name of the new model; that of `model` by default.

        Returns:
            A `ModularModel`.

        Raises:
            ValueError: If the model has no graph, is not built, has several outputs, or has no
                hidden activation.
        """
        inputs, outputs = graph.inputs_and_outputs(graph.to_functional(model))
        return cls(inputs, outputs, name=name or model.name)

    @property
    def hidden_activations(self) -> list[HiddenActivation]:
        """The hidden activations, in the order of execution."""
        return list(self._modular.hidden_activations)

    # -------------------------------------------------------------------------------- training

    def compile(self, *args, modular_loss: ModularLoss | None = None, **kwargs):
        """Configures the model for training; arguments of `keras.Model.compile`, and one more.

        Args:
            *args: Positional arguments of `keras.Model.compile`.
            modular_loss: A `ModularLoss` such as `MODALoss()`, added to the task loss; None trains
                as usual.
            **kwargs: Keyword arguments of `keras.Model.compile`.

        Raises:
            ValueError: If `modular_loss` is not a `ModularLoss`.
        """
        if modular_loss is not None and not isinstance(modular_loss, ModularLoss):
            raise ValueError(
                "Expected `modular_loss` to be a `ModularLoss`, such as `MODALoss()`, or None. "
                f"Received: modular_loss={modular_loss}"
            )
        if any(isinstance(each, ModularLoss) for each in (*args, *kwargs.values())):
            raise ValueError(
                "Expected a task loss, such as keras.losses.CategoricalCrossentropy(). Received: a "
                "`ModularLoss`, which goes into `compile(..., modular_loss=...)`"
            )
        super().compile(*args, **kwargs)
        self._modular.set_loss(modular_loss)

    def save(self, filepath, *args, **kwargs):
        """Saves the model as `keras.Model.save` does, in Keras's own format.

        Raises:
            ValueError: For an HDF5 file, which cannot hold the modular loss.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(
                "Expected a file name that ends in .keras: an HDF5 file cannot hold the modular "
                f"loss. Received: filepath={str(filepath)!r}. To save the model alone as HDF5, "
                "save `keras.Model(model.input, model.output)`"
            )
        super().save(filepath, *args, **kwargs)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        # What `ModularModel(inputs, outputs)` gives is of another class, which this one stands for.
        target = _FunctionalModularModel if cls is ModularModel and "layers" in config else cls
        return super(ModularModel, target).from_config(config, custom_objects)

    def get_compile_config(self):
        config = super().get_compile_config()
        if config:
            loss = self._modular.loss
            config["modular_loss"] = keras.saving.serialize_keras_object(loss)
        return config

    def compile_from_config(self, config):
        config = keras.saving.deserialize_keras_object(config)
        self.compile(**config)
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    @property
    def metrics(self):
        metrics = super().metrics
        return metrics + self._modular.metrics if self.compiled else metrics

    def fit(self, x=None, y=None, *args, **kwargs):
        given = {name: kwargs.get(name) for name in ("sample_weight", "validation_data")}
        self._check_data(x, y, **given)
        warn_of_separate_models()
        with backend.keep_variables(self):
            return super().fit(x, y, *args, **kwargs)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        self._check_data(x, y, sample_weight=kwargs.get("sample_weight"))
        with backend.keep_variables(self):
            return super().evaluate(x, y, *args, **kwargs)

    def train_on_batch(self, x, y=None, *args, **kwargs):
        self._check_data(x, y, sample_weight=kwargs.get("sample_weight"))
        with backend.keep_variables(self):
            return super().train_on_batch(x, y, *args, **kwargs)

    def test_on_batch(self, x, y=None, *args, **kwargs):
        self._check_data(x, y, sample_weight=kwargs.get("sample_weight"))
        with backend.keep_variables(self):
            return super().test_on_batch(x, y, *args, **kwargs)

    def train_step(self, *args, **kwargs):
        with self._modular.collecting():
            return super().train_step(*args, **kwargs)

    def test_step(self, *args, **kwargs):
        with self._modular.collecting():
            return super().test_step(*args, **kwargs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        task_loss = super().compute_loss(x, y, y_pred, sample_weight, training=training)
        state = self._modular
        if not state.is_collecting:
            return task_loss
        # With a named output, Keras hands over dicts of one entry.
        output, labels, weight = (keras.tree.flatten(v)[0] for v in (y_pred, y, sample_weight))
        objectives = state.loss.objectives(
            labels=labels,
            num_classes=output.shape[-1],
            sample_weight=weight,
            **state.collected(self),
        )
        batch_size = keras.ops.shape(output)[0]
        replicas = check_replicas(state.loss)
        values = {"task_loss": task_loss * replicas, **objectives}
        for metric in state.metrics:
            metric.update_state(values[metric.name], sample_weight=batch_size)
        modular = state.loss.weighted_sum(objectives) / replicas
        if training:
            modular *= state.loss.training_factor(labels, output, weight)
        return task_loss + keras.ops.cast(modular, task_loss.dtype)

    def _check_data(self, x, y, **options) -> None:
        """Finds wrong data in arrays before anything is trained on it, on every backend."""
        state = self._modular
        classes = None if state.loss is None else state.classes
        inputs = self.inputs if state.tapped is not None else ()
        check_fit_data(x, y, inputs, classes, **options)


@keras.saving.register_keras_serializable(package="moda_keras", name="ModularModel")
class _FunctionalModularModel(ModularModel, Functional):
    """What `ModularModel(inputs, outputs)` gives: it reads its activations from its graph.

    Keras splices its Functional class into the bases of a model class on the first call with
    inputs and outputs, for good; a subclass of `ModularModel` with its own `call` must not inherit
    that, so there are two classes.
    """

    def __init__(self, *args, **kwargs):
        # Keras before 3.15 loads a functional model of another class only with this signature.
        self._build_graph(*args, **kwargs)

    def _build_graph(self, inputs, outputs, name=None, **kwargs):
        Functional.__init__(self, inputs, outputs, name=name or _auto_name(), **kwargs)
        graph.require_single_output(self)
        self._modular = _TrainingState(self)

    @graph.runs_graph_alone
    def call(self, inputs, training=None, mask=None, **kwargs):
        state = getattr(self, "_modular", None)
        if state is None or not state.is_collecting:
            return super().call(inputs, training=training, mask=mask, **kwargs)
        output, state.observed = state.tapped(inputs, training)
        return output


# Keras shows the name in every repr, and HDF5 files name classes without their package.
_FunctionalModularModel.__name__ = "ModularModel"
keras.saving.get_custom_objects()["ModularModel"] = _FunctionalModularModel
keras.saving.get_custom_objects()["_FunctionalModularModel"] = _FunctionalModularModel


class _TrainingState:
    """The training state besides the model. A plain object: no backend tracks its layers."""

    def __init__(self, model: keras.Model | None = None):
        self.loss: ModularLoss | None = None
        self.metrics: list[keras.metrics.Metric] = []
        self.hidden_activations: list[HiddenActivation] = []
        self.classes: int | None = None
        self.tapped: TappedModel | None = None
        self._step = threading.local()
        if model is not None:
            self._read_graph(model)

    def _read_graph(self, model: keras.Model) -> None:
        traced = graph.trace(model)
        self.tapped = TappedModel(traced)
        self.hidden_activations = list(self.tapped.hidden.values())
        self.classes = model.outputs[0].shape[-1]
        unreadable = graph.find_unreadable_layers(traced)
        marked_inside = any(graph.contains_marked_activation(layer) for layer in model.layers)
        if not self.hidden_activations and not marked_inside:
            raise ValueError(graph.explain_no_activation(traced))
        if unreadable:
            warnings.warn(
                "The modular objectives cannot see the activations inside the layers "
                f"{[layer.name for layer in unreadable]}. Mark them there with "
                "`moda_keras.layers.ModularActivation`, or build these layers with the functional "
                "API.",
                stacklevel=4,
            )

        overlooked = graph.describe_overlooked_operations(traced)
        if overlooked:
            warnings.warn(overlooked, stacklevel=4)

    def set_loss(self, loss: ModularLoss | None) -> None:
        self.loss = loss
        names = () if loss is None else ("task_loss", *loss.objective_names)
        self.metrics = [keras.metrics.Mean(name=name) for name in names]

    @contextmanager
    def collecting(self):
        """Within it, calls of the model leave their activations here."""
        if self.loss is None:
            yield
            return
        with collect_marked() as marked:
            self._step.marked, self._step.observed = marked, []
            self._step.in_forward_pass = False
            try:
                yield
            finally:
                self._step.marked = self._step.observed = None

    @contextmanager
    def forward_pass(self):
        """Wraps the model's `call` and drops the records of an earlier call that built layers."""
        outermost = self.is_collecting and not self._step.in_forward_pass
        if not outermost:
            yield
            return
        self._step.marked.clear()
        self._step.in_forward_pass = True
        try:
            yield
        finally:
            self._step.in_forward_pass = False

    @property
    def is_collecting(self) -> bool:
        return getattr(self._step, "marked", None) is not None

    @property
    def observed(self) -> list[Observation]:
        """Observations of the graph's hidden activations."""
        return self._step.observed

    @observed.setter
    def observed(self, observations: list[Observation]) -> None:
        self._step.observed = observations

    def collected(self, model: keras.Model) -> dict[str, list]:
        """The activations of this step as arguments of `ModularLoss.objectives`."""
        in_graph = {id(hidden.operation) for hidden in self.hidden_activations}
        observed = self.observed + [
            Observation(value, layer.channel_axis(len(value.shape)), graph.is_non_negative(layer))
            for layer, value in self._step.marked
            if id(layer) not in in_graph
        ]
        if not observed:
            raise ValueError(
                f"Expected the `call` of {type(model).__name__} to apply at least one "
                "`moda_keras.layers.ModularActivation`, which marks a hidden activation for the "
                "modular objectives. Received: a model that applies none"
            )
        parts = [each[:3] for each in masked_as_vectors(observed)]
        activations, axes, non_negative = map(list, zip(*parts, strict=True))
        return {"activations": activations, "axes": axes, "non_negative": non_negative}


def _has_graph_arguments(args: tuple, kwargs: dict) -> bool:
    return len(args) >= 2 or "outputs" in kwargs


def _derive_from_functional(cls: type) -> None:
    """Puts the functional class in the place of `ModularModel` among the bases of a subclass."""
    if issubclass(cls, _FunctionalModularModel):
        return
    if ModularModel in cls.__bases__:
        cls.__bases__ = tuple(
            _FunctionalModularModel if base is ModularModel else base for base in cls.__bases__
        )
        return
    for base in cls.__bases__:
        if issubclass(base, ModularModel):
            _derive_from_functional(base)


def _auto_name() -> str:
    count = keras.backend.get_uid("modular_model")
    return "modular_model" if count == 1 else f"modular_model_{count - 1}"
