"""The outputs of a model for many masks of its units, from one compiled model."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from moda_keras.graph import Tensor
from moda_keras.observing.gated_probe import GatedProbe
from moda_keras.observing.labelled_arrays import loadable, number_of_samples, take_samples
from moda_keras.slicing import Slicer

ROWS_AT_ONCE = 2048
# More values of a map than fit into a processor's cache take almost twice as long for each row.
VALUES_AT_ONCE = 1 << 21


class MaskedOutputs(GatedProbe):
    """Runs a model under many masks of the units of some hidden activations.

    A mask has a factor for each unit: 0 and 1 give the masked model that defines modules. Masks are
    inputs, so that one compiled model serves them all. What comes before the first masked
    activation is computed once for all masks of a call. The model is not changed.

    Args:
        slicer: Of the model.
        names: Names of the hidden activations that have masks. The others keep all units.
        logits: Whether to put out what goes into a softmax or sigmoid at the output instead of what
            comes out.

    Raises:
        ValueError: If one of the activations is that of a recurrent layer: its units read each
            other, so that masks of its output are not enough.

    Examples:
        >>> import keras
        >>> import numpy as np
        >>> from moda_keras.methods.masked_outputs import MaskedOutputs
        >>> from moda_keras.slicing import Slicer
        >>> model = keras.Sequential([
        ...     keras.Input((2,)),
        ...     keras.layers.Dense(2, activation="relu", kernel_initializer="ones", name="hidden"),
        ...     keras.layers.Dense(2, kernel_initializer="ones"),
        ... ])
        >>> outputs = MaskedOutputs(Slicer(model), ["hidden"])
        >>> masks = {"hidden": np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])}
        >>> outputs.of(np.array([[1.0, 2.0]]), masks, batch_size=8)[:, 0].tolist()
        [[6.0, 6.0], [3.0, 3.0], [0.0, 0.0]]
    """

    def __init__(self, slicer: Slicer, names: Sequence[str], *, logits: bool = True):
        refuse_recurrent(slicer, names)
        super().__init__(slicer.graph)
        if not logits:
            self.output_step = None
        self.names = list(names)
        self.masked = {t: self.names.index(n) for t, n in slicer.hidden.items() if n in self.names}
        self.compile()
        self.built = True

    def call(self, inputs, training=False):
        x, masks = inputs
        flat = keras.tree.flatten(self.entry(x, training=False))
        # Not static: TensorFlow traces a model for any number once it has met a few.
        number, samples = ops.shape(masks[0])[0], ops.shape(flat[0])[0]
        wide: set[Tensor] = set()  # tensors with a row for each mask and sample

        def widen(leaf, value):
            is_narrow = isinstance(leaf, Tensor) and leaf not in wide
            return _repeat(value, number) if is_narrow else value

        def run_step(step, args, kwargs):
            if not wide.isdisjoint(step.inputs):
                arguments = (step.args, step.kwargs), (args, kwargs)
                args, kwargs = keras.tree.map_structure(widen, *arguments)
                wide.update(step.outputs)
            return self._call_step(step, args, kwargs)

        def mask_units(tensor, value):
            if tensor not in self.masked:
                return value
            value = widen(tensor, value)
            wide.add(tensor)
            rows = ops.repeat(masks[self.masked[tensor]], samples, axis=0)
            return self.gate(value, rows, axis=tensor.channel_axis)

        values = self.graph.run(flat, call=run_step, transform=mask_units)
        output = self.graph.outputs[0]
        found = ops.cast(widen(output, values[output]), "float32")
        return ops.reshape(found, (number, samples, found.shape[-1]))

    def batches(
        self, x: Any, masks: dict[str, np.ndarray], batch_size: int
    ) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """The outputs, batch by batch of masks and samples.

        Args:
            x: Inputs: an array of N samples, or a list or dict of arrays.
            masks: For each of `names` an array (M, D) of factors.
            batch_size: Number of samples at once.

        Yields:
            Which masks, which samples, and their outputs: a float32 array (masks, samples, C).

        Raises:
            ValueError: If an input or an output is NaN or infinite.
        """
        _require_finite_inputs(x)
        tables = [np.asarray(masks[name], "float32") for name in self.names]
        number, samples = len(tables[0]), number_of_samples(x)
        size = min(batch_size, samples)
        several = min(_power_of_two(number), max(1, self._rows_at_once() // size))
        for first in range(0, samples, size):
            last = min(first + size, samples)
            batch = loadable(take_samples(x, _full(first, last, size)))
            for start in range(0, number, several):
                end = min(start + several, number)
                chosen = [table[_full(start, end, several)] for table in tables]
                found = np.asarray(self.predict_on_batch([batch, chosen]))
                found = found[: end - start, : last - first]
                _require_finite(found)
                yield slice(start, end), slice(first, last), found

    def _rows_at_once(self) -> int:
        sizes = [math.prod(length or 1 for length in tensor.shape[1:]) for tensor in self.masked]
        return min(ROWS_AT_ONCE, VALUES_AT_ONCE // max(sizes))

    def of(self, x: Any, masks: dict[str, np.ndarray], batch_size: int) -> np.ndarray:
        """All outputs: a float32 array (M, N, C). Arguments as of `batches`."""
        number, samples = len(masks[self.names[0]]), number_of_samples(x)
        found = np.empty((number, samples, self.graph.outputs[0].shape[-1]), "float32")
        for of_masks, of_samples, values in self.batches(x, masks, batch_size):
            found[of_masks, of_samples] = values
        return found


def own_logits(
    outputs: MaskedOutputs, x: Any, masks: dict[str, np.ndarray], owners: Any, batch_size: int
) -> np.ndarray:
    """Of every mask the logit of its class alone.

    Args:
        outputs: The masked model.
        x: Inputs of N samples.
        masks: Dict from activation name to an array (M, D).
        owners: Int array (M,): the class of each mask.
        batch_size: Number of samples at once.

    Returns:
        Float32 array (M, N).
    """
    owners = np.asarray(owners)
    found = np.empty((len(owners), number_of_samples(x)), "float32")
    for of_masks, of_samples, values in outputs.batches(x, masks, batch_size):
        classes = owners[of_masks]
        found[of_masks, of_samples] = values[np.arange(len(classes)), :, classes]
    return found


def refuse_recurrent(slicer: Slicer, names: Sequence[str]) -> None:
    """Raises a ValueError if one of the hidden activations is that of a recurrent layer."""
    found = {
        slicer.hidden[tensor]
        for step, rule in slicer.rules.items()
        for tensor in step.outputs
        if rule.feeds_back and tensor in slicer.hidden
    }
    recurrent = [name for name in names if name in found]
    if recurrent:
        raise ValueError(
            "Expected hidden activations whose units do not read each other. Received: model "
            f"{slicer.model.name!r} with the recurrent layers {recurrent}. Use `decompose`"
        )


def _repeat(value: Any, number: int) -> Any:
    return ops.tile(value, [number] + [1] * (len(value.shape) - 1))


def _power_of_two(number: int) -> int:
    """The next one: callers with varying numbers of masks compile few models."""
    return 1 << (number - 1).bit_length()


def _full(start: int, end: int, size: int) -> np.ndarray:
    """Indices from start to end, filled up to `size`: JAX compiles every new shape."""
    return np.minimum(np.arange(start, start + size), end - 1)


def _require_finite_inputs(x: Any) -> None:
    """TensorFlow's ReLU may turn NaN into 0, so that outputs do not show it."""
    arrays = [each for each in keras.tree.flatten(x) if isinstance(each, np.ndarray)]
    if not all(np.isfinite(each).all() for each in arrays if each.dtype.kind == "f"):
        raise ValueError("Expected finite inputs. Received: NaN or infinity in `x`. Remove them")


def _require_finite(outputs: np.ndarray) -> None:
    if not np.isfinite(outputs).all():
        raise ValueError(
            "Expected finite outputs. Received: NaN or infinity. Check the data and the weights"
        )
