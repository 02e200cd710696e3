"""A frozen model under binary masks that are trained, one mask for each of several modules.

Batches are rows of all modules, module by module: of S modules and b samples for each, the rows
`s * b` to `(s + 1) * b - 1` run through module s. One pass over S * b rows serves all modules.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import keras
import numpy as np
from keras import ops

from moda_keras.graph import entry_of, new_inputs
from moda_keras.methods.straight_through import binarize
from moda_keras.reuse.graph_copy import GraphCopy
from moda_keras.slicing import Slicer


class TrainedMasks(keras.Model):
    """The logits of a frozen model, with a trained binary mask over its units for each module.

    A mask is 1 where its score is above 0. Scores alone are trained: the operations are copies of
    the model's, not trainable, in inference mode.

    Args:
        slicer: Of the model.
        names: The hidden activations that are masked.
        modules: S, the number of modules.

    Call arguments:
        inputs: What the model takes, S * b rows.

    Returns:
        Float32 tensor (S * b, C).
    """

    def __init__(self, slicer: Slicer, names: Sequence[str], modules: int):
        super().__init__(name="trained_masks", dtype="float32", autocast=False)
        self.modules = modules
        self.graph = slicer.graph
        self.copies = GraphCopy(self.graph)
        self.graph.run(new_inputs(slicer.model), call=self.copies.call)
        self.copies.copy_weights()
        copies = self.copies.by_operation.values()
        self.frozen = [each for each in copies if isinstance(each, keras.layers.Layer)]
        for layer in self.frozen:
            layer.trainable = False
        self.entry = entry_of(slicer.model)
        self.gate = _Gate()
        self.names = list(names)
        self.masked = {
            tensor: self.names.index(name)
            for tensor, name in slicer.hidden.items()
            if name in self.names
        }
        self.scores = [
            self.add_weight((modules, slicer.units[name]), "ones", name=f"scores_{index}")
            for index, name in enumerate(self.names)
        ]
        self.built = True

    # Without an argument `training`, everything runs in inference mode, also in `fit`.
    def call(self, inputs):
        masks = [binarize(ops.convert_to_tensor(each)) for each in self.scores]

        def mask_units(tensor, value):
            if tensor not in self.masked:
                return value
            return self.gate(value, masks[self.masked[tensor]], axis=tensor.channel_axis)

        flat = keras.tree.flatten(self.entry(inputs))
        values = self.graph.run(flat, call=self.copies.call, transform=mask_units)
        return ops.cast(values[self.graph.outputs[0]], "float32")

    def shares(self) -> Any:
        """The share of its units that each module keeps, (S,)."""
        scores = ops.concatenate([ops.convert_to_tensor(each) for each in self.scores], axis=1)
        return ops.mean(binarize(scores), axis=1)


class Heads(keras.layers.Layer):
    """A small dense network behind the logits of each module.

    Every layer takes the ReLU of what goes in, the logits included, as the authors' heads do.

    Args:
        modules: S, the number of modules.
        sizes: C, and the number of outputs of each layer.

    Call arguments:
        logits: Float32 tensor (S * b, C), module by module.

    Returns:
        Float32 tensor (S * b, K), K the last of `sizes`.
    """

    def __init__(self, modules: int, sizes: Sequence[int]):
        super().__init__(name="heads", dtype="float32", autocast=False)
        self.modules = modules
        self.parameters = [
            (
                self.add_weight((modules, inputs, outputs), name=f"kernel_{index}"),
                self.add_weight((modules, 1, outputs), "zeros", name=f"bias_{index}"),
            )
            for index, (inputs, outputs) in enumerate(pairwise(sizes))
        ]
        self.built = True

    def call(self, logits):
        values = _by_module(logits, self.modules)
        for kernel, bias in self.parameters:
            values = ops.matmul(ops.relu(values), kernel) + bias
        return ops.reshape(values, (-1, values.shape[-1]))


class LogitGroups(keras.layers.Layer):
    """Reads the outputs of each module from its logits, without a head.

    An output is the logit of a group of classes: the log-sum-exp of theirs, that of one class its
    own.

    Args:
        members: Bool array (S, C, K): the classes of each output. None is empty.

    Call arguments:
        logits: Float32 tensor (S * b, C), module by module.

    Returns:
        Float32 tensor (S * b, K).
    """

    def __init__(self, members: np.ndarray):
        super().__init__(name="logit_groups", dtype="float32", autocast=False)
        self.members = np.asarray(members, bool)
        self.built = True

    def call(self, logits):
        modules, _, outputs = self.members.shape
        # Far below any logit, yet finite: infinities have no gradient.
        excluded = ops.convert_to_tensor(np.where(self.members, 0, -1e9).astype("float32"))
        values = _by_module(logits, modules)[..., None] + excluded[:, None]
        return ops.reshape(ops.logsumexp(values, axis=2), (-1, outputs))


class ModuleTraining(keras.Model):
    """What is trained on batches: masks and heads, or heads alone on given logits.

    Args:
        masks: The masks; None where the inputs are their logits.
        outputs: Makes outputs (S * b, K) of logits (S * b, C).
        modules: S, the number of modules.
        objective: Called as `objective(outputs, labels, shares)` with tensors (S, b, K), (S, b) and
            (S,), it gives the loss.
    """

    def __init__(
        self,
        masks: TrainedMasks | None,
        outputs: keras.layers.Layer,
        modules: int,
        objective: Callable[[Any, Any, Any], Any],
    ):
        super().__init__(name="module_training", dtype="float32", autocast=False)
        self.masks = masks
        self.outputs_of = outputs
        self.modules = modules
        self.objective = objective
        self.built = True

    def call(self, inputs):
        return self.outputs_of(inputs if self.masks is None else self.masks(inputs))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        shares = ops.ones((self.modules,)) if self.masks is None else self.masks.shares()
        labels = ops.reshape(y, (self.modules, -1))
        return self.objective(_by_module(y_pred, self.modules), labels, shares)


class _Gate(keras.layers.Layer):
    """Multiplies the rows of each module by its mask; passes Keras's masks on."""

    def __init__(self):
        super().__init__(dtype="float32", autocast=False, name="gate")
        self.supports_masking = True
        self.built = True

    def call(self, values, mask, axis):
        modules, units = mask.shape
        grouped = ops.reshape(values, (modules, -1, *ops.shape(values)[1:]))
        shape = [modules] + [1] * len(values.shape)
        shape[axis + 1] = units
        gated = grouped * ops.cast(ops.reshape(mask, shape), values.dtype)
        return ops.reshape(gated, (-1, *ops.shape(values)[1:]))


def _by_module(rows: Any, modules: int) -> Any:
    return ops.reshape(rows, (modules, -1, rows.shape[-1]))
