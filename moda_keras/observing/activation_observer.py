"""Running data through the hidden activations of a model."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from moda_keras.graph import Graph, HiddenActivation, explain_no_activation
from moda_keras.observing.activation_probe import ActivationProbe
from moda_keras.observing.labelled_arrays import loadable
from moda_keras.ops.backends import backend


class ActivationObserver(keras.Model):
    """Shows a metric the hidden activations of a model, in Keras's own evaluation loop.

    A Keras metric streams, and is right in any compiled evaluation step.

    Args:
        traced: The graph of the model.
        make_metric: Given the hidden activations, makes the `keras.metrics.Metric`. Its
            `update_state(labels, activations, sample_weight)` is called for every batch.

    Raises:
        ValueError: If the model has no hidden activation.
    """

    probe_class = ActivationProbe

    def __init__(
        self,
        traced: Graph,
        make_metric: Callable[[Sequence[HiddenActivation]], keras.metrics.Metric],
    ):
        super().__init__(name="observation")
        self.probe = self.probe_class(traced)
        self.hidden = self.probe.hidden
        if not self.hidden:
            raise ValueError(explain_no_activation(traced))
        self.metric = make_metric(self.hidden)
        self.inputs_not_finite = keras.metrics.Sum(name="inputs_not_finite", dtype="float32")
        self.compile()
        # All layers are built; Keras would run the model on a batch to find that out.
        self.built = self.probe.built = True

    def observe(self, x: Any, y: Any = None, **arguments: Any) -> None:
        """Goes through the data once.

        Args:
            x: Data: anything that `evaluate` takes.
            y: Labels, if the metric needs any and `x` does not hold them.
            **arguments: Further arguments of `evaluate`.

        Raises:
            ValueError: If a weight or an input is NaN or infinite. Activations do not always show
                it: TensorFlow's ReLU may turn NaN into 0.
        """
        with backend.keep_variables(self):
            self._require_finite_weights()
            self.evaluate(loadable(x), y, callbacks=[_ProgressBar()], **arguments)
        count = int(self.inputs_not_finite.result())
        if count:
            raise ValueError(
                f"Expected finite inputs. Received: {count} values in `x` that are NaN or "
                "infinite. Remove or replace them"
            )

    def _require_finite_weights(self) -> None:
        names = names_of_weights_not_finite(self.probe.model)
        if names:
            raise ValueError(
                f"Expected finite weights. Received: NaN or infinity in the weights {names} of "
                f"model {self.probe.model.name!r}. Train the model again, from weights that are "
                "finite"
            )

    def call(self, inputs):
        return self.probe(inputs, training=False)

    @property
    def metrics(self):
        return [self.metric, self.inputs_not_finite]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=False):
        return ops.zeros(())

    def update_metric(self, y: Any, activations: Any, sample_weight: Any) -> None:
        """Shows the metric a batch."""
        self.metric.update_state(y, activations, sample_weight)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.update_metric(y, y_pred, sample_weight)
        for values in keras.tree.flatten(x):
            is_given = values is not None  # an optional input may not be
            if is_given and "float" in keras.backend.standardize_dtype(values.dtype):
                self.inputs_not_finite.update_state(ops.cast(~ops.isfinite(values), "float32"))
        return {self.metric.name: self.metric.result()}


class _ProgressBar(keras.callbacks.ProgbarLogger):
    """Shows the progress alone: the number of samples is no figure of the model's."""

    def on_test_batch_end(self, batch, logs=None):
        super().on_test_batch_end(batch)

    def on_test_end(self, logs=None):
        super().on_test_end()


def names_of_weights_not_finite(model: keras.Model) -> list[str]:
    """The paths of the weights of a model that have NaN or infinity.

    Args:
        model: A built model.

    Returns:
        List of str.
    """
    floats = [w for w in model.weights if "float" in keras.backend.standardize_dtype(w.dtype)]
    return [weight.path for weight in floats if not bool(ops.all(ops.isfinite(weight.value)))]


def require_finite(hidden: Sequence[HiddenActivation], not_finite: Any) -> None:
    """Raises a ValueError that names the activations with NaN or infinity.

    Args:
        hidden: The hidden activations.
        not_finite: For each, the number of values that are not finite.
    """
    counts = ops.convert_to_numpy(not_finite)
    names = [h.name for h, count in zip(hidden, counts, strict=True) if count]
    if names:
        raise ValueError(
            "Expected finite activations. Received: NaN or infinity in the activations "
            f"{names}; check the data and the model's weights"
        )
