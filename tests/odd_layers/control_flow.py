"""Branches and loops, code of other libraries, dtypes and shapes."""

from typing import ClassVar

import keras
import numpy as np
from keras import layers, ops

from odd_layers.blocks import dense
from odd_layers.catalogue import LENGTH, WIDTH, WithWeights, Written, odd


# ------------------------------------------------------------------------------ control of flow
@odd("control flow", only_torch=True, whole="branches on the values")
def branch_on_a_value(self, x):
    return ops.relu(x) if ops.max(x) > 0.5 else x


@odd("control flow")
def branch_on_a_size(self, x):
    return ops.relu(x) if x.shape[-1] > 3 else x


@odd("control flow")
def branch_on_the_batch(self, x):
    return ops.relu(x) if x.shape[0] is None or x.shape[0] > 1 else ops.relu(x) * 2.0


@odd(
    "control flow",
    whole="outputs on random inputs differ",
    parts=lambda: {"inner": dense(WIDTH, "relu")},
)
def branch_if_symbolic(self, x):
    return self.inner(x) if keras.utils.is_keras_tensor(x) else self.inner(x) * 2.0


@odd("control flow", whole="it hands a function to an operation")
def cond_of_keras(self, x):
    return ops.cond(ops.max(x) > 0.5, lambda: ops.relu(x), lambda: x * 0.5)


@odd("control flow")
def cond_on_the_attribute(self, x):
    return ops.cond(self.trainable, lambda: ops.relu(x), lambda: x)


@odd("control flow")
def where_of_keras(self, x):
    return ops.where(x > 0.5, x, 0.1 * x)


@odd("control flow", whole="its call")
def while_loop(self, x):
    return ops.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, ops.tanh(y) + 0.1), (0, x))[1]


@odd("control flow", whole="it hands a function to an operation")
def fori_loop(self, x):
    return ops.fori_loop(0, 3, lambda i, y: ops.tanh(y) * 2.0, x)


@odd(
    "control flow",
    whole="it hands a function to an operation",
    on="sequence",
    parts=lambda: {"inner": dense(5, "relu")},
)
def map_over_samples(self, x):
    return ops.map(lambda each: ops.relu(each) * 2.0, x)


@odd("control flow", whole="it hands a function to an operation", on="sequence")
class MapByAMethod(WithWeights):
    shapes: ClassVar = {"scale": (WIDTH,)}

    def each(self, row):
        return ops.relu(row) * self.scale

    def call(self, x):
        return ops.map(self.each, x)


@odd("control flow", whole="it hands a function to an operation", on="sequence")
def vectorized_map(self, x):
    return ops.vectorized_map(lambda each: ops.cumsum(each, axis=0), x)


@odd("control flow", whole="it hands a function to an operation")
def switch_of_keras(self, x):
    return ops.switch(1, [lambda y: y, lambda y: ops.relu(y) * 2.0], x)


@odd("control flow", parts=lambda: {"inner": dense(WIDTH, "tanh")})
def fixed_point(self, x):
    state = ops.zeros_like(x)
    for _ in range(3):
        state = self.inner(state + x)
    return state


@odd("control flow", only_torch=True, whole="it hands a function to an operation")
def associative_scan(self, x):
    return ops.associative_scan(ops.add, x, axis=-1)


# --------------------------------------------------------------------------------- other code
@odd("other code", only_torch=True, whole="its call")
def numpy_on_the_input(self, x):
    return ops.convert_to_tensor(np.tanh(ops.convert_to_numpy(x)))


@odd("other code")
def numpy_constant(self, x):
    return x * np.linspace(0.5, 1.5, WIDTH).astype("float32")


@odd("other code")
def numpy_of_the_weights_shape(self, x):
    return x / float(np.sqrt(x.shape[-1])) + np.float32(0.5)


@odd("other code", parts=lambda: {"table": np.linspace(0.5, 1.5, WIDTH).astype("float32")})
def numpy_attribute(self, x):
    return ops.relu(x) * self.table


def native(torch_like, tensorflow_like, jax_like):
    name = keras.backend.backend()
    if name == "torch":
        import torch

        return torch_like(torch)
    if name == "tensorflow":
        import tensorflow

        return tensorflow_like(tensorflow)
    import jax

    return jax_like(jax)


@odd("other code", whole="its call")
def function_of_the_backend(self, x):
    return native(lambda t: t.relu(x), lambda t: t.nn.relu(x), lambda j: j.nn.relu(x))


@odd("other code")
def backend_only_if_eager(self, x):
    if isinstance(x, keras.KerasTensor):
        return ops.relu(x)
    return native(lambda t: t.relu(x), lambda t: t.nn.relu(x), lambda j: j.nn.relu(x))


@odd("other code", only_torch=True, whole="its call", parts=lambda: {"inner": dense(5)})
def methods_of_the_tensor(self, x):
    return self.inner(x).mean(axis=-1, keepdims=True)


@odd(
    "other code",
    only_torch=True,
    whole="it derives values from its weights",
    weights={"scale": (WIDTH,)},
)
def number_of_a_weight(self, x):
    return x * float(ops.convert_to_numpy(self.scale)[0])


@odd("other code", whole="it derives values from its weights", weights={"scale": (WIDTH,)})
def value_of_a_weight(self, x):
    return ops.relu(x) * self.scale.value


@odd("other code", weights={"scale": (WIDTH,)})
def weight_converted(self, x):
    return ops.relu(x) * ops.convert_to_tensor(self.scale)


@odd(
    "other code",
    only_torch=True,
    whole="it derives values from its weights",
    weights={"scale": (WIDTH,)},
)
def weight_branched_on(self, x):
    return ops.relu(x) if float(ops.convert_to_numpy(self.scale)[0]) > 0 else x


# --------------------------------------------------------------------------------------- dtypes
@odd("dtypes", only_torch=True, parts=lambda: {"inner": dense(5, "relu")})
def cast_to_double_and_back(self, x):
    return self.inner(
        ops.cast(ops.sum(ops.cast(x, "float64"), axis=-1, keepdims=True) + x, x.dtype)
    )


@odd("dtypes")
class HalfPrecision(Written):
    parts = staticmethod(lambda: {"inner": dense(5, "relu", dtype="mixed_bfloat16")})

    def call(self, x):
        return ops.cast(self.inner(x), "float32")


@odd("dtypes")
class MixedPolicy(Written):
    parts = staticmethod(lambda: {"inner": dense(5, "relu", dtype="mixed_float16")})

    def __init__(self, **kwargs):
        kwargs.setdefault("dtype", "mixed_float16")
        super().__init__(**kwargs)

    def call(self, x):
        return self.inner(x) * 0.5


@odd("dtypes")
class MixedPolicyWithAWeight(WithWeights):
    shapes: ClassVar = {"scale": (WIDTH,), "kernel": (WIDTH, 5)}

    def __init__(self, **kwargs):
        kwargs.setdefault("dtype", "mixed_bfloat16")
        super().__init__(**kwargs)

    def call(self, x):
        return ops.relu(ops.matmul(x * self.scale, self.kernel))


@odd("dtypes")
class NotAutocast(WithWeights):
    shapes: ClassVar = {"scale": (WIDTH,)}

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **{"dtype": "float32", **kwargs})

    def call(self, x):
        return ops.relu(x) * self.scale


@odd("dtypes", on="ids")
def ids_hashed(self, ids):
    return ops.one_hot(ops.mod(ids * 7, 5), 5)


@odd("dtypes", on="ids")
def ids_counted(self, ids):
    return ops.sum(ops.one_hot(ids, 9), axis=1)


@odd("dtypes", on="ids", parts=lambda: {"words": layers.Embedding(9, WIDTH)})
def mean_without_padding(self, ids):
    mask = ops.cast(ids != 0, "float32")[..., None]
    return ops.sum(self.words(ids) * mask, axis=1) / (ops.sum(mask, axis=1) + 1.0)


@odd("dtypes", on="sequence", parts=lambda: {"inner": dense(5)})
def compared_and_chosen(self, x):
    x = self.inner(x)
    order = ops.argsort(ops.sum(x, axis=-1), axis=-1)
    return ops.take_along_axis(x, order[..., None], axis=1)


@odd("dtypes")
def sorted_values(self, x):
    return ops.flip(ops.sort(x, axis=-1), axis=-1)


@odd("dtypes", on="sequence")
def padded_and_cut(self, x):
    x = ops.pad(x, [[0, 0], [1, 2], [0, 0]], constant_values=0.3)
    return ops.relu(x[:, 1 : 1 + LENGTH, ::2])


@odd("dtypes")
def written_into(self, x):
    index = ops.convert_to_tensor(np.array([[0, 1]], dtype="int32"))
    return x + ops.scatter(index, ops.ones((1,)), (1, WIDTH))


@odd("dtypes")
def quantiles(self, x):
    return ops.quantile(x, [0.25, 0.75], axis=-1, keepdims=False)[0][:, None] + x


@odd("dtypes")
def logs_and_softmaxes(self, x):
    return ops.log_softmax(x, axis=-1) - ops.logsumexp(x, axis=-1, keepdims=True)


@odd("dtypes", on="sequence")
def batch_flattened(self, x):
    return ops.reshape(ops.relu(ops.reshape(x, (-1, WIDTH))), (-1, LENGTH, WIDTH))


@odd("dtypes")
def over_the_batch(self, x):
    return x - ops.mean(x, axis=0, keepdims=True)


@odd("dtypes")
def matrix_of_the_batch(self, x):
    return ops.matmul(ops.matmul(x, ops.transpose(x)), x) * 0.1
