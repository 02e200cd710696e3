"""How layers are put together: arguments, nesting, sharing."""

import keras
from keras import layers, ops

from odd_layers.blocks import MLP, dense
from odd_layers.catalogue import WIDTH, Written, odd


def two(layer, x):
    return layer(x, layers.Dense(WIDTH, activation="tanh")(x))


# ----------------------------------------------------------------------------------- arguments
@odd("arguments", apply=two, parts=lambda: {"inner": dense(5, "relu")})
def two_inputs(self, first, second):
    return self.inner(ops.concatenate([first, second], axis=-1))


@odd("arguments", apply=lambda layer, x: layer([x, ops.tanh(x)]), parts=lambda: {"inner": dense(5)})
def list_of_inputs(self, inputs):
    return self.inner(inputs[0] - inputs[1])


@odd("arguments", apply=lambda layer, x: layer({"a": x, "b": ops.tanh(x)}))
def dict_of_inputs(self, inputs):
    return inputs["a"] * inputs["b"]


@odd("arguments", apply=lambda layer, x: layer((x, {"b": [ops.tanh(x)]})))
def nested_inputs(self, inputs):
    first, rest = inputs
    return first + rest["b"][0]


@odd("arguments", apply=lambda layer, x: layer(x, other=ops.tanh(x)))
def keyword_input(self, x, *, other):
    return x * other


@odd("arguments")
def optional_input_left_out(self, x, other=None):
    return ops.relu(x) if other is None else x + other


@odd("arguments", apply=two)
def optional_input_given(self, x, other=None):
    return ops.relu(x) if other is None else x + other


@odd("arguments", apply=lambda layer, x: layer(x, factor=2.5))
def number_as_argument(self, x, factor=1.0):
    return x * factor


@odd("arguments", apply=lambda layer, x: layer(x, activation="tanh"))
def word_as_argument(self, x, activation="relu"):
    return keras.activations.get(activation)(x)


@odd("arguments", apply=lambda layer, x: layer(x, ops.tanh(x), ops.sin(x)))
def any_number_of_inputs(self, *inputs):
    return sum(inputs)


@odd(
    "arguments",
    apply=lambda layer, x: layer(x, scale=ops.tanh(x)),
    parts=lambda: {"inner": dense()},
)
def any_keywords(self, x, **others):
    return self.inner(x) * others.get("scale", 1.0) + others.get("shift", 0.5)


@odd("arguments", apply=lambda layer, x: layer(x, x))
def one_tensor_twice(self, first, second):
    return first * second


@odd("arguments", parts=lambda: {"a": dense(4, "relu"), "b": dense(3, "relu")})
def tuple_of_outputs(self, x):
    return self.a(x), self.b(x)


@odd("arguments", parts=lambda: {"a": dense(4, "relu"), "b": dense(3, "relu")})
def dict_of_outputs(self, x):
    return {"b": self.b(x), "a": self.a(x)}


@odd("arguments", parts=lambda: {"a": dense(4, "relu")})
def list_of_outputs(self, x):
    return [self.a(x), ops.tanh(x)]


@odd("arguments", parts=lambda: {"a": dense(4, "relu")}, apply=lambda layer, x: layer(x)[0])
def output_that_nobody_reads(self, x):
    return self.a(x), ops.sum(x, axis=-1)


@odd("arguments", parts=lambda: {"a": dense(4, "relu")})
def same_output_twice(self, x):
    x = self.a(x)
    return x, x


@odd("arguments")
def input_returned(self, x):
    return x


@odd("arguments", parts=lambda: {"a": dense(4, "relu")})
def input_among_the_outputs(self, x):
    return [x, self.a(x)]


@odd(
    "arguments",
    whole="it returns something else",
    weights={"row": (WIDTH,)},
    apply=lambda layer, x: layer(x)[0],
)
def weight_among_the_outputs(self, x):
    return ops.tanh(x) * self.row, self.row


@odd("arguments", whole="Keras sends masks", on="masked", parts=lambda: {"inner": dense(5, "relu")})
def mask_as_argument(self, x, mask=None):
    x = self.inner(x)
    return x if mask is None else x * ops.cast(mask, x.dtype)[..., None]


@odd("arguments", whole="Keras sends masks", on="masked", parts=lambda: {"inner": dense(5, "relu")})
def mask_not_looked_at(self, x):
    return self.inner(x)


@odd("arguments", whole="Keras sends masks", on="masked",
     parts=lambda: {"inner": dense(5, "relu")}, supports_masking=True,
     apply=lambda layer, x: layers.LSTM(4)(layer(x)))  # fmt: skip
def mask_handed_on(self, x):
    return self.inner(x)


@odd("arguments", on="ids", parts=lambda: {"words": layers.Embedding(9, WIDTH, mask_zero=True)},
     apply=lambda layer, x: layers.LSTM(4)(layer(x)))  # fmt: skip
def mask_made_inside(self, ids):
    return self.words(ids) * 2.0


@odd("arguments", on="sequence", apply=lambda layer, x: layers.LSTM(4)(layer(x)))
class MaskComputed(Written):
    def call(self, x):
        return ops.relu(x)

    def compute_mask(self, inputs, mask=None):
        return ops.any(inputs > 0.6, axis=-1)


# -------------------------------------------------------------------------------------- nesting
class Block(Written):
    parts = staticmethod(MLP["parts"])

    def build(self, shape):
        self.inner.build(shape)
        self.outer.build((*shape[:-1], 8))

    def compute_output_shape(self, shape):
        return shape

    def call(self, x):
        return x + self.outer(self.inner(x))


@odd("nesting", parts=lambda: {"block": Block(), "out": dense(5, "relu")})
def layer_inside_a_layer(self, x):
    return self.out(self.block(x))


@odd("nesting", parts=lambda: {"blocks": [Block() for _ in range(3)]})
def list_of_layers(self, x):
    for block in self.blocks:
        x = block(x)
    return x


@odd("nesting", parts=lambda: {"blocks": {"a": Block(), "b": Block()}})
def dict_of_layers(self, x):
    return self.blocks["b"](self.blocks["a"](x))


@odd(
    "nesting",
    parts=lambda: {
        "blocks": [{"mlp": Block(), "norm": layers.LayerNormalization()} for _ in range(2)]
    },
)
def list_of_dicts_of_layers(self, x):
    for each in self.blocks:
        x = each["norm"](each["mlp"](x))
    return x


@odd("nesting", parts=lambda: {"blocks": (dense(5, "relu"), (dense(4, "relu"), dense()))})
def nested_tuples_of_layers(self, x):
    first, (second, third) = self.blocks
    return third(second(first(x)))


@odd("nesting", parts=lambda: {"shared": dense(WIDTH, "tanh")})
def one_layer_called_twice(self, x):
    return self.shared(self.shared(x))


@odd("nesting", parts=lambda: {"shared": dense(5, "relu")})
def one_layer_on_two_inputs(self, x):
    return self.shared(x) * self.shared(-x)


@odd("nesting", parts=lambda: {"block": Block()})
def block_called_in_a_loop(self, x):
    for _ in range(3):
        x = self.block(x)
    return x


@odd(
    "nesting",
    parts=lambda: {"first": Block(), "second": Block()},
    apply=lambda layer, x: layer(layer(x)),
)
def layer_called_twice(self, x):
    return self.second(self.first(x))


@odd("nesting", parts=lambda: {"inner": keras.Sequential([dense(8, "relu"), dense()])})
def sequential_inside(self, x):
    return x + self.inner(x)


def functional():
    inputs = keras.Input((WIDTH,))
    x = dense(5, "relu")(inputs)
    return keras.Model(inputs, layers.concatenate([x, dense(3, "tanh")(x)]))


@odd("nesting", parts=lambda: {"inner": functional(), "out": dense()})
def functional_inside(self, x, training=False):
    return self.out(self.inner(x, training=training))


class Net(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.a, self.b = dense(7, "relu"), dense(WIDTH)

    def call(self, x):
        return self.b(self.a(x))


@odd("nesting", parts=lambda: {"net": Net()})
def model_inside(self, x):
    return ops.relu(self.net(x))


@odd("nesting")
def subclassed_model():
    return Net()


def tower(depth):
    class Tower(Written):
        parts = staticmethod(
            lambda: {"own": dense(WIDTH, "relu"), **({"rest": tower(depth - 1)} if depth else {})}
        )

        def call(self, x):
            x = self.own(x)
            return self.rest(x) if depth else x

    return Tower()


@odd("nesting")
def layer_that_holds_its_like():
    return tower(3)


@odd("nesting", parts=lambda: {"inner": dense(5, "relu")})
class DerivedFromAnother(Block):
    def call(self, x):
        return ops.tanh(super().call(x)) + x


@odd("nesting", on="sequence", parts=lambda: {"each": layers.TimeDistributed(dense(5, "relu"))})
def time_distributed_inside(self, x):
    return self.each(x)


@odd("nesting", refused="cannot be copied", on="sequence")
def time_distributed_over_a_block():
    return layers.TimeDistributed(Block())


@odd(
    "nesting",
    parts=lambda: {
        "times": layers.Lambda(lambda x: 2.0 * x, output_shape=(WIDTH,)),
        "out": dense(5, "relu"),
    },
)
def lambda_inside(self, x):
    return self.out(self.times(x))


@odd("nesting")
class Wrapped(layers.Wrapper):
    def __init__(self, **kwargs):
        super().__init__(dense(5, "relu"))

    def call(self, x):
        return self.layer(x) * 0.5


@odd("nesting", parts=lambda: {"norm": layers.SpectralNormalization(dense(5))})
def spectral_normalization_of_keras(self, x):
    return ops.relu(self.norm(x))
