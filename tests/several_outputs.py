"""Models of several outputs, and their masked selves, built by hand."""

import keras
import numpy as np
from keras import layers
from masking import randomize

import moda_keras as mk

CLASSES = 4


def dense(units, name, activation="relu"):
    return layers.Dense(units, activation=activation, name=name)


def heads(mask):
    """A class output, boxes, the features themselves, and a task with units of its own."""
    inputs = keras.Input((5,), name="inputs")
    x = mask("first", dense(8, "first")(inputs))
    features = mask("features", dense(7, "features")(x))
    task = dense(3, "task", "softmax")(dense(6, "task_hidden")(x))
    return inputs, {
        "task": task,
        "box": dense(4, "box", None)(features),
        "scores": dense(CLASSES, "scores", "softmax")(features),
        "features": features,
    }


def maps(mask):
    """A list: a map of masked channels, the scores, and the map's mean."""
    inputs = keras.Input((6, 6, 2), name="image")
    x = mask("conv", layers.Conv2D(6, 3, activation="relu", name="conv")(inputs))
    deep = layers.Conv2D(5, 3, activation="relu", name="deep", padding="same")(x)
    pooled = layers.GlobalAveragePooling2D(name="pooled")(mask("deep", deep))
    return inputs, [x, dense(CLASSES, "scores", "sigmoid")(pooled), pooled]


def residual(mask):
    """A residual network with BatchNormalization, read in its middle too."""
    inputs = keras.Input((4, 4, 3), name="image")
    x = layers.Conv2D(6, 3, padding="same", name="stem")(inputs)
    x = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_norm")(x))
    x = middle = mask("stem_relu", x)
    y = layers.Conv2D(5, 3, padding="same", use_bias=False, name="inner")(x)
    y = layers.ReLU(name="inner_relu")(layers.BatchNormalization(name="inner_norm")(y))
    y = layers.Conv2D(6, 3, padding="same", name="outer")(mask("inner_relu", y))
    added = layers.Add(name="added")([x, layers.BatchNormalization(name="outer_norm")(y)])
    last = mask("last_relu", layers.ReLU(name="last_relu")(added))
    pooled = layers.GlobalMaxPooling2D(name="pooled")(last)
    depth = layers.Conv2D(1, 1, name="depth")(added)
    scores = layers.Softmax(name="scores")(dense(CLASSES, "logits", None)(pooled))
    return inputs, {"middle": middle, "added": added, "depth": depth, "scores": scores}


def shared(mask):
    """Two inputs through the same layers, also the head; the units are those of the first."""
    one, two = keras.Input((5,), name="one"), keras.Input((5,), name="two")
    trunk, head = dense(8, "trunk"), dense(CLASSES, "head", "softmax")
    second = trunk(two)
    return [one, two], [head(mask("trunk", trunk(one))), head(second), second]


def conditional(mask):
    """A second head that reads the probabilities of all classes."""
    inputs = keras.Input((5,), name="inputs")
    x = mask("features", dense(8, "features")(inputs))
    scores = dense(CLASSES, "scores", "softmax")(x)
    both = layers.Concatenate(name="both")([scores, x])
    return inputs, {"fine": dense(3, "fine", "softmax")(both), "scores": scores}


def logits_too(mask):
    """Logits, their softmax twice, and one softmax layer that serves another head."""
    inputs = keras.Input((5,), name="inputs")
    softmax = layers.Activation("softmax", name="softmax")
    x = mask("features", dense(8, "features")(inputs))
    logits, other = dense(CLASSES, "logits", None)(x), dense(3, "other", None)(x)
    scores = softmax(logits)
    return inputs, {"logits": logits, "scores": scores, "same": scores, "other": softmax(other)}


def sequence(mask):
    """What a recurrent layer puts out at every time, and the input itself."""
    inputs = keras.Input((4, 3), name="inputs")
    x = mask("gru", layers.GRU(6, return_sequences=True, name="gru")(inputs))
    pooled = layers.GlobalAveragePooling1D(name="pooled")(x)
    tags = dense(2, "tags", "softmax")(x)
    return inputs, [inputs, tags, dense(CLASSES, "scores", None)(pooled)]


# The builder, which output has the classes, and the units of the hidden activations before it.
MODELS = {
    "heads": (heads, "scores", {"first": 8, "features": 7}),
    "maps": (maps, 1, {"conv": 6, "deep": 5}),
    "residual": (residual, "scores", {"stem_relu": 6, "inner_relu": 5, "last_relu": 6}),
    "shared": (shared, 0, {"trunk": 8}),
    "conditional": (conditional, "scores", {"features": 8}),
    "logits": (logits_too, "logits", {"features": 8}),
    "softmax": (logits_too, "scores", {"features": 8}),
    "sequence": (sequence, 2, {"gru": 6}),
}


def made(builder, masks=None):
    """The model of a builder; its units are multiplied by masks of zeros and ones."""

    def mask(name, tensor):
        if masks is None:
            return tensor
        return layers.Rescaling(masks[name].astype(float).tolist(), name=f"{name}_zeros")(tensor)

    model = keras.Model(*builder(mask), name="whole")
    return randomize(model)


def random_masks(sizes, seed=0, classes=CLASSES):
    """By name, masks (classes, units) that keep some units and drop some."""
    rng = np.random.default_rng(seed)
    masks = {name: rng.random((classes, size)) < 0.35 for name, size in sizes.items()}
    for each in masks.values():
        each[:, 0], each[:, -1] = True, False
    return masks


def class_model(model, output):
    return keras.Model(model.inputs, model.output[output])


def samples(model, count=6, seed=1):
    rng = np.random.default_rng(seed)
    x = [rng.normal(0.2, 1, (count, *t.shape[1:])).astype("float32") for t in model.inputs]
    return x[0] if len(x) == 1 else x


def outputs_of(model, x):
    """All outputs by key or index, as arrays."""
    found = model.predict_on_batch(x)
    return dict(found if isinstance(found, dict) else enumerate(found))


def expected_outputs(name, model, masks, chosen, x):
    """The outputs of a masked model of its own, with the chosen classes renormalised."""
    builder, output, _ = MODELS[name]
    kept = {key: each[chosen].any(axis=0) for key, each in masks.items()}
    masked = made(builder, kept)
    for layer in model.layers:
        masked.get_layer(layer.name).set_weights(layer.get_weights())
    if "gru" in kept:  # the other units do not see them at the next time step either
        weight = masked.get_layer("gru").cell.recurrent_kernel
        weight.assign(keras.ops.convert_to_numpy(weight) * kept["gru"][:, np.newaxis])
    found = outputs_of(masked, x)
    alike = [output, "same"] if "same" in found and output == "scores" else [output]
    for each in alike:
        scores = found[each][:, chosen]
        is_softmax = np.allclose(found[each].sum(axis=1), 1)
        found[each] = scores / scores.sum(axis=1, keepdims=True) if is_softmax else scores
    return found


def modules_of(name, seed=0):
    """The whole model of a name, the modules of its class output, and their masks."""
    builder, output, sizes = MODELS[name]
    model = made(builder)
    masks = random_masks(sizes, seed)
    return model, mk.ModuleSet.from_units(class_model(model, output), masks), masks


def assert_equal_outputs(received, expected, tolerance=2e-5):
    assert received.keys() == expected.keys()
    for key, values in expected.items():
        assert received[key].shape == values.shape, key
        assert np.abs(values).max() > 0, f"{key} says nothing"
        difference = np.abs(received[key] - values).max() / np.abs(values).max()
        assert difference < tolerance, f"{key} differs by {difference}"
