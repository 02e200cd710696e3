"""Small CNNs with and without mask generators, and what MwT computes, in numpy."""

import keras
import numpy as np
from keras import layers
from masking import randomize

from moda_keras import graph
from moda_keras.methods import mwt


def chain(classes=3, **head):
    """Three convolutions: with normalization and ReLU, with a ReLU of its own, with GELU."""
    image = keras.Input((6, 6, 2), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="first")(image)
    x = layers.ReLU(name="first_relu")(layers.BatchNormalization(name="first_bn")(x))
    x = layers.Conv2D(6, 3, padding="same", use_bias=False, name="normed")(x)
    x = layers.ReLU(name="normed_relu")(layers.BatchNormalization(scale=False, name="normed_bn")(x))
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Conv2D(5, 2, activation="gelu", name="own")(x)
    x = layers.Flatten(name="flatten")(x)
    return randomize(
        keras.Model(image, layers.Dense(classes, name="logits", **head)(x), name="chain")
    )


def residual(classes=3):
    """Two residual blocks, the second with a convolution on its shortcut."""
    image = keras.Input((6, 6, 2), name="image")
    x = normed(image, 5, "stem")
    x = layers.ReLU(name="stem_relu")(x)
    for block, (filters, strides) in enumerate([(5, 1), (8, 2)], start=1):
        shortcut = x if strides == 1 else normed(x, filters, "shortcut", strides, 1)
        y = layers.ReLU(name=f"relu{block}")(normed(x, filters, f"conv{block}a", strides))
        y = normed(y, filters, f"conv{block}b")
        x = layers.ReLU(name=f"block{block}")(layers.Add(name=f"add{block}")([y, shortcut]))
    x = layers.GlobalAveragePooling2D(name="average")(x)
    return randomize(keras.Model(image, layers.Dense(classes, name="logits")(x), name="residual"))


def normed(x, filters, name, strides=1, size=3):
    x = layers.Conv2D(filters, size, strides, padding="same", use_bias=False, name=name)(x)
    return layers.BatchNormalization(name=f"{name}_bn")(x)


def with_masks(model, seed=3):
    """The MwT model, with generators whose masks are often zero and differ between samples."""
    made = mwt.MwTModel.from_model(model)
    random = np.random.default_rng(seed)
    for layer in made.layers:
        if layer.name.endswith(("_mask_hidden", "_mask_output")):
            shape = tuple(layer.kernel.shape)
            values = random.normal(0, 6 / shape[-2] ** 0.5, shape)
            layer.kernel.assign(values.astype("float32"))
        if layer.name.endswith("_mask_output"):
            layer.bias.assign(random.normal(0.2, 0.3, layer.bias.shape).astype("float32"))
    return made


def saturate(model, masks):
    """Makes all masks constant zeros and ones.

    Args:
        model: An MwT model.
        masks: Dict from the name of a convolution to a list of zeros and ones.
    """
    for name, mask in masks.items():
        layer = model.get_layer(f"{name}_mask_output")
        layer.kernel.assign(np.zeros(layer.kernel.shape, "float32"))
        layer.bias.assign(np.where(mask, 20.0, -20.0).astype("float32"))
    return model


def masks_of(model, x):
    """The masks of samples, float arrays (B, D) by the names of the convolutions."""
    traced = graph.trace(model)
    found = graph.hidden_activations_of(traced)
    values = traced.run([keras.ops.convert_to_tensor(x)])
    return {
        hidden.name.removesuffix("_mask"): keras.ops.convert_to_numpy(values[tensor]).reshape(
            len(x), hidden.units
        )
        for hidden, tensor in found
    }


def mask_by_loops(layer_input, hidden_kernel, output_kernel, output_bias, channels_axis=-1):
    """The generator of the paper in float64, sample by sample, kernel by kernel."""
    maps = np.moveaxis(np.asarray(layer_input, "float64"), channels_axis, 1)
    hidden_kernel = np.asarray(hidden_kernel, "float64").reshape(np.shape(hidden_kernel)[-2:])
    output_kernel = np.asarray(output_kernel, "float64").reshape(np.shape(output_kernel)[-2:])
    masks = []
    for sample in maps:
        pooled = [float(np.mean(channel)) for channel in sample]
        hidden = [
            max(sum(p * w for p, w in zip(pooled, column, strict=True)), 0.0)
            for column in hidden_kernel.T
        ]
        masks.append(
            [
                max(np.tanh(bias + sum(h * w for h, w in zip(hidden, column, strict=True))), 0.0)
                for column, bias in zip(output_kernel.T, output_bias, strict=True)
            ]
        )
    return np.array(masks)
