"""The native operations as TensorFlow operations: eager, `tf.function`, gradients.

They come from a library of their own, which TensorFlow loads when they are first asked for.
"""

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import tensorflow as tf

from moda_keras.ops.native import core as native

LIBRARY = Path(native.__file__).parents[1] / "libmoda_tensorflow.so"
_OPERATIONS = (
    "moda_keras_objectives",
    "moda_keras_objectives_gradient",
    "moda_keras_class_statistics",
    "moda_keras_class_statistics_gradient",
    "moda_keras_activation_frequency",
)
# Where an operation of this process may run on another machine, that machine lacks it.
_LOCAL_STRATEGIES = (tf.distribute.MirroredStrategy, tf.distribute.OneDeviceStrategy)


# --------------------------------------------------------------------------------- the library


@functools.cache
def _load() -> tuple[ModuleType | None, str | None]:
    """The operations, or None and the reason."""
    if not LIBRARY.exists():
        return None, f"the TensorFlow operations ({LIBRARY.name}) were not built"
    try:
        operations = tf.load_op_library(str(LIBRARY))
    except (tf.errors.OpError, OSError) as error:
        return None, f"the TensorFlow operations do not load ({error})"
    version = core().moda_abi_version()
    if version != native.ABI_VERSION:
        return None, (
            f"the TensorFlow operations have version {version} of the interface, this package "
            f"needs {native.ABI_VERSION}: install moda_keras anew"
        )
    missing = [name for name in _OPERATIONS if not hasattr(operations, name)]
    if missing:
        return None, f"TensorFlow {tf.__version__} did not register {missing}"
    return operations, None


def _operations() -> ModuleType:
    operations, reason = _load()
    if operations is None:
        raise native.NativeUnavailableError(reason)
    return operations


def core() -> ctypes.CDLL:
    """The library's own copy of the core, with a thread pool of its own: csrc/core/moda_core.h."""
    return ctypes.CDLL(str(LIBRARY))


# ------------------------------------------------------------------------------ when they serve


def reason_against_process() -> str | None:
    """Why the native operations cannot serve TensorFlow here at all, or None."""
    # Unlike `list_logical_devices`, this starts no device.
    if tf.config.get_visible_devices("GPU"):
        return "TensorFlow sees a GPU, and they run on the CPU"
    return _load()[1]


def reason_against(activations: Sequence[tf.Tensor], axes: Sequence[int]) -> str | None:
    """Why the native operations cannot take these tensors, here and now, or None."""
    return (
        reason_against_process()
        or _reason_against_strategy()
        or _reason_against_graph()
        or _reason_against_tensors(activations, axes)
    )


def _reason_against_strategy() -> str | None:
    strategy = tf.distribute.get_strategy()
    if not tf.distribute.has_strategy() or isinstance(strategy, _LOCAL_STRATEGIES):
        return None
    return f"they do not run under {type(strategy).__name__}"


def _reason_against_graph() -> str | None:
    if tf.executing_eagerly():
        return None
    if not _can_tell_xla():
        return f"TensorFlow {tf.__version__} does not tell which graphs XLA compiles"
    return "XLA compiles this graph, and fuses the reference" if _is_under_xla() else None


def _reason_against_tensors(activations: Sequence[tf.Tensor], axes: Sequence[int]) -> str | None:
    for activation, axis in zip(activations, axes, strict=True):
        if not isinstance(activation, tf.Tensor):
            return f"they take no {type(activation).__name__}"
        if activation.dtype.name not in native.DTYPES:
            return f"they have no dtype {activation.dtype.name}"
        shape = activation.shape
        if shape.rank is None or 0 in shape or shape[axis] is None:
            return f"they take no shape {shape} with units on axis {axis}"
    dtypes = {activation.dtype.name for activation in activations}
    if len(dtypes) > 1:
        return f"the activations differ in dtype: {sorted(dtypes)}"
    return None


def _is_under_xla() -> bool:
    # What Keras itself may use of TensorFlow, not part of the documented interface.
    return tf.__internal__.get_enclosing_xla_context() is not None


@functools.cache
def _can_tell_xla() -> bool:
    """Whether `_is_under_xla` is right with this TensorFlow: tried on two graphs."""
    answers = []

    def ask():
        answers.append(_is_under_xla())
        return tf.constant(0)

    try:
        with tf.init_scope():
            for jit_compile in (True, False):
                tf.function(ask, jit_compile=jit_compile, autograph=False).get_concrete_function()
    except AttributeError:
        return False
    return answers == [True, False]


def _real_dtype(dtype: tf.DType) -> tf.DType:
    """The type that the operations compute in."""
    return tf.float64 if dtype == tf.float64 else tf.float32


# ----------------------------------------------------------------------------------- objectives


def objectives(
    activations: Sequence[tf.Tensor],
    labels: tf.Tensor,
    classes: int,
    axes: Sequence[int],
    non_negative: Sequence[bool],
    averages_pairs: bool,
    unit_divides: bool,
) -> tf.Tensor:
    """The objectives of every activation (A, 3), float32, or float64 of float64."""
    values, *_ = _operations().moda_keras_objectives(
        activations=activations,
        labels=labels,
        real=_real_dtype(activations[0].dtype),
        classes=classes,
        axes=axes,
        non_negative=non_negative,
        averages_pairs=averages_pairs,
        unit_divides=unit_divides,
    )
    values.set_shape((len(activations), 3))
    return values


@tf.RegisterGradient("ModaKerasObjectives")
def _objectives_gradient(operation, upstream, *_):
    *activations, labels = operation.inputs
    _, normalized, inverse_norms, totals = operation.outputs
    names = ("classes", "axes", "non_negative", "averages_pairs", "unit_divides")
    gradients = _operations().moda_keras_objectives_gradient(
        activations=activations,
        labels=labels,
        normalized=normalized,
        inverse_norms=inverse_norms,
        totals=totals,
        upstream=upstream,
        **{name: operation.get_attr(name) for name in names},
    )
    return [*gradients, None]


# ----------------------------------------------------------------------------------- statistics


def class_statistics(
    activation: tf.Tensor, labels: tf.Tensor, classes: int, axis: int, non_negative: bool
) -> tuple[tf.Tensor, ...]:
    """Sums (C, D), counts, nonzero, l1 (C,) of one activation."""
    results = _operations().moda_keras_class_statistics(
        activation=activation,
        labels=labels,
        real=_real_dtype(activation.dtype),
        classes=classes,
        axes=[axis],
        non_negative=[non_negative],
    )
    sums, counts, nonzero, l1, *_ = results
    sums.set_shape((classes, activation.shape[axis]))
    for by_class in (counts, nonzero, l1):
        by_class.set_shape((classes,))
    return sums, tf.stop_gradient(counts), tf.stop_gradient(nonzero), l1


@tf.RegisterGradient("ModaKerasClassStatistics")
def _class_statistics_gradient(operation, sums_gradient, _counts, _nonzero, l1_gradient, *_):
    activation, labels = operation.inputs
    *_, normalized, inverse_norms = operation.outputs
    names = ("classes", "axes", "non_negative")
    gradient = _operations().moda_keras_class_statistics_gradient(
        activation=activation,
        labels=labels,
        normalized=normalized,
        inverse_norms=inverse_norms,
        sums_gradient=sums_gradient,
        l1_gradient=l1_gradient,
        **{name: operation.get_attr(name) for name in names},
    )
    return gradient, None


# ------------------------------------------------------------------------------------ frequency


def activation_frequency(
    activations: Sequence[tf.Tensor],
    labels: tf.Tensor,
    classes: int,
    axes: Sequence[int],
    epsilons: Sequence[float],
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Counts (C, D) of active units of each activation; (A,) counts of units not finite."""
    counts, not_finite = _operations().moda_keras_activation_frequency(
        activations=activations,
        labels=labels,
        epsilons=tf.constant(epsilons, tf.float64),
        classes=classes,
        axes=axes,
    )
    for count, activation, axis in zip(counts, activations, axes, strict=True):
        count.set_shape((classes, activation.shape[axis]))
    not_finite.set_shape((len(activations),))
    return counts, not_finite


tf.no_gradient("ModaKerasActivationFrequency")
