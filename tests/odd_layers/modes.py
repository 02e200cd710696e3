"""Training and inference, noise, state, losses, gradients."""

from typing import ClassVar

import keras
import numpy as np
from keras import layers, ops

from odd_layers.blocks import dense
from odd_layers.catalogue import WIDTH, WithWeights, Written, odd

SEEDS = {"parts": lambda: {"seeds": keras.random.SeedGenerator(1)}}


# ------------------------------------------------------------------------------------ training
@odd("training", parts=lambda: {"inner": dense(5, "relu"), "drop": layers.Dropout(0.5)})
def dropout_inside(self, x, training=None):
    return self.drop(self.inner(x), training=training)


@odd("training", parts=lambda: {"inner": dense(5, "relu"), "drop": layers.Dropout(0.5)})
def dropout_not_told(self, x):
    return self.drop(self.inner(x))


@odd(
    "training",
    whole="it asks layers inside for training or inference",
    parts=lambda: {"norm": layers.BatchNormalization()},
)
def norm_frozen_by_the_call(self, x, training=None):
    return self.norm(x, training=False)


@odd(
    "training",
    whole="it asks layers inside for training or inference",
    parts=lambda: {"drop": layers.Dropout(0.0)},
)
def dropout_always_on(self, x):
    return self.drop(x, training=True)


@odd("training", whole="something else in training", parts=lambda: {"drop": layers.Dropout(0.5)})
def dropout_if_training(self, x, training=False):
    return self.drop(x, training=training) if training else x


@odd("training", whole="something else in training")
def noise_free_branch(self, x, training=False):
    return ops.clip(x, 0.1, 0.9) if training else x


@odd(
    "training",
    whole="it asks layers inside for training or inference",
    parts=lambda: {"norm": layers.BatchNormalization()},
)
def norm_of_the_other_mode(self, x, training=False):
    return self.norm(x, training=not training)


@odd("training", whole="something else in training")
class OtherLayerInTraining(Written):
    parts = staticmethod(lambda: {"a": dense(5, "relu"), "b": dense(5, "relu")})

    def build(self, shape):
        self.a.build(shape)
        self.b.build(shape)

    def call(self, x, training=False):
        return self.a(x) if training else self.b(x)


@odd("training", whole="its outputs in training differ")
def something_else_in_eager_training(self, x, training=False):
    is_symbolic = isinstance(x, keras.KerasTensor)
    return ops.clip(x, 0.1, 0.9) if training and not is_symbolic else ops.relu(x)


@odd("training", whole="its outputs in training differ")
class CallOverriddenInTraining(Written):
    def __call__(self, x, training=None):
        x = super().__call__(x, training=training)
        return x * 2.0 if training else x

    def call(self, x, training=None):
        return ops.relu(x)


@odd("training", parts=lambda: {"noise": layers.GaussianNoise(0.3), "inner": dense(5, "relu")})
def gaussian_noise_inside(self, x, training=None):
    return self.inner(self.noise(x, training=training))


class Frozen(Written):
    parts = staticmethod(lambda: {"norm": layers.BatchNormalization()})

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm.trainable = False

    def call(self, x):
        return ops.relu(self.norm(x))


odd("training")(Frozen)


@odd("training")
class FrozenOutside(Written):
    parts = staticmethod(lambda: {"norm": layers.BatchNormalization(), "inner": dense(5, "relu")})

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.trainable = False

    def call(self, x, training=None):
        return self.inner(self.norm(x, training=training))


@odd("training")
class ActsByTrainable(Written):
    parts = staticmethod(lambda: {"inner": dense(5)})

    def call(self, x):
        return ops.relu(self.inner(x)) if self.trainable else self.inner(x)


@odd(
    "training",
    apply=lambda layer, x: layer(x, training=False),
    parts=lambda: {"norm": layers.BatchNormalization(), "inner": dense(5, "relu")},
)
def called_in_inference(self, x, training=None):
    return self.inner(self.norm(x, training=training))


@odd(
    "training",
    apply=lambda layer, x: layer(x, training=True),
    parts=lambda: {"norm": layers.BatchNormalization(), "inner": dense(5, "relu")},
)
def called_in_training(self, x, training=None):
    return self.inner(self.norm(x, training=training))


# --------------------------------------------------------------------------------------- noise
@odd("noise", whole="its call", **SEEDS)
def dropout_by_keras_random(self, x, training=None):
    return keras.random.dropout(x, 0.5, seed=self.seeds) if training else x


@odd("noise", whole="its call", **SEEDS)
def stochastic_depth(self, x, training=None):
    if not training:
        return ops.relu(x) + x
    kept = keras.random.uniform((ops.shape(x)[0], 1), seed=self.seeds) > 0.2
    return x + ops.relu(x) * ops.cast(kept, x.dtype) / 0.8


@odd("noise", whole="its call", **SEEDS)
def noise_in_both_modes(self, x):
    return x + 0.0 * keras.random.normal(ops.shape(x), seed=self.seeds)


@odd("noise")
def noise_of_a_fixed_seed(self, x):
    return x + keras.random.normal((1, WIDTH), seed=7)


@odd("noise")
def noise_by_numpy(self, x):
    return x + np.random.default_rng(3).normal(size=WIDTH).astype("float32")


@odd(
    "noise",
    whole="its call",
    parts=lambda: {"both": dense(8), "seeds": keras.random.SeedGenerator(1)},
)
def variational(self, x, training=None):
    mean, log_variance = ops.split(self.both(x), 2, axis=-1)
    if not training:
        return mean
    return mean + ops.exp(0.5 * log_variance) * keras.random.normal(
        ops.shape(mean), seed=self.seeds
    )


@odd(
    "noise",
    parts=lambda: {"drop": layers.Dropout(0.5, noise_shape=(None, 1)), "inner": dense(5, "relu")},
)
def stochastic_depth_by_dropout(self, x, training=None):
    return x + self.drop(ops.relu(x), training=training)


# --------------------------------------------------------------------------------------- state
class Counting(layers.Layer):
    def build(self, shape):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")


@odd("state", whole="it changes a state")
class CallsCounted(Counting):
    def call(self, x):
        self.count.assign_add(1.0)
        return ops.relu(x)


@odd("state", whole="its call")
class MovingAverage(Counting):
    def call(self, x, training=False):
        if training:
            self.count.assign(0.9 * self.count + 0.1 * ops.mean(x))
        return x - self.count


@odd("state")
class StateRead(Counting):
    def call(self, x):
        return x * (1.0 + self.count)


@odd("state", whole="it sets its attributes ['last']")
class LastKept(Written):
    def call(self, x):
        self.last = ops.relu(x)
        return self.last


@odd("state")
class FilledCache(Written):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.cache = {}

    def call(self, x):
        return x + self.cache.setdefault("waves", np.sin(np.arange(WIDTH)).astype("float32"))


@odd(
    "state",
    whole="its call",
    parts=lambda: {"mean": keras.metrics.Mean(name="mean"), "inner": dense(5, "relu")},
)
def metric_updated(self, x):
    x = self.inner(x)
    self.mean.update_state(ops.sum(x))
    return x


@odd("state")
class VectorQuantizer(WithWeights):
    shapes: ClassVar = {"codes": (4, WIDTH)}

    def call(self, x):
        distances = ops.sum((x[:, None] - self.codes) ** 2, axis=-1)
        taken = ops.matmul(ops.one_hot(ops.argmin(distances, axis=-1), 4), self.codes)
        return x + ops.stop_gradient(taken - x)


# -------------------------------------------------------------------------------------- losses
@odd("losses", whole="it adds a loss", parts=lambda: {"inner": dense(5, "relu")})
def loss_added(self, x):
    x = self.inner(x)
    self.add_loss(0.1 * ops.mean(ops.square(x)))
    return x


@odd(
    "losses",
    whole="it adds a loss",
    parts=lambda: {"router": dense(2, "softmax"), "inner": dense(5, "relu")},
)
def loss_added_in_training(self, x, training=False):
    weights = self.router(x)
    if training:
        self.add_loss(ops.sum(ops.square(ops.mean(weights, axis=0))))
    return self.inner(x) * weights[:, :1]


@odd("losses", whole="it has an activity regularizer")
class ActivityRegularized(Written):
    parts = staticmethod(lambda: {"inner": dense(5, "relu")})

    def __init__(self, **kwargs):
        super().__init__(**{"activity_regularizer": "l2", **kwargs})

    def call(self, x):
        return self.inner(x)


@odd("losses", parts=lambda: {"inner": dense(5, "relu", activity_regularizer="l1")})
def activity_regularized_inside(self, x):
    return self.inner(x)


@odd(
    "losses",
    parts=lambda: {"inner": dense(5, "relu"), "penalty": layers.ActivityRegularization(l1=0.1)},
)
def penalty_layer_inside(self, x):
    return self.penalty(self.inner(x))


@odd(
    "losses",
    whole="it adds a loss",
    weights={"outer": (5,)},
    parts=lambda: {"inner": dense(5, "relu")},
)
def loss_on_a_weight(self, x):
    self.add_loss(0.1 * ops.sum(ops.square(self.outer)))
    return self.inner(x) * self.outer


# ----------------------------------------------------------------------------------- gradients
@odd("gradients", parts=lambda: {"inner": dense(5, "relu")})
def gradient_stopped(self, x):
    return self.inner(ops.stop_gradient(x))


@odd("gradients")
def straight_through(self, x):
    return x + ops.stop_gradient(ops.round(x) - x)


@odd("gradients", whole="its call")
def gradient_reversed(self, x):
    @ops.custom_gradient
    def reverse(values):
        def grad(*args, upstream=None):
            return -(args[0] if upstream is None else upstream)

        return values, grad

    return reverse(x)
