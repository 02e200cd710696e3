"""A catalogue of small layers as users write them, each with what becomes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers, ops

WIDTH, LENGTH, SIDE, WORDS = 6, 4, 4, 9
INLINED, KNOWN, WHOLE, REFUSED = "inlined", "known", "whole", "refused"


@dataclass(frozen=True)
class Entry:
    """A layer, and what becomes of it.

    Attributes:
        name: Its name.
        idea: The group that it belongs to.
        make: Makes the layer.
        verdict: "inlined": its parts take its place. "known": it is one of Keras's layers, and is
            cut as such. "whole": it stays one operation, with a reason. "refused": a ValueError
            says what to do.
        why: What the reason says, if it is whole or refused.
        on: What goes in: a "vector", "sequence", "image", "ids", a sequence of any length ("open"),
            or one with a mask of time steps ("masked").
        apply: Calls the layer on it.
        only_torch: Whether Keras itself runs it on PyTorch alone.
    """

    name: str
    idea: str
    make: Callable[[], layers.Layer]
    verdict: str
    why: str
    on: str
    apply: Callable[[layers.Layer, Any], Any]
    only_torch: bool


CATALOGUE: dict[str, Entry] = {}


class Written(layers.Layer):
    """The constructor that most of them have: it makes the layers inside."""

    parts: Callable[[], dict[str, Any]] = dict

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        for name, part in type(self).parts().items():
            setattr(self, name, part)


class WithWeights(Written):
    """A layer with weights of its own."""

    shapes: ClassVar[dict[str, tuple]] = {}

    def build(self, input_shape=None):
        for name, shape in self.shapes.items():
            weight = self.add_weight(shape=shape, initializer="random_normal", name=name)
            setattr(self, name, weight)


def odd(
    idea: str,
    *,
    on: str = "vector",
    parts: Callable[[], dict[str, Any]] = dict,
    weights: dict[str, tuple] | None = None,
    known: bool = False,
    whole: str = "",
    refused: str = "",
    apply: Callable[[layers.Layer, Any], Any] = lambda layer, x: layer(x),
    only_torch: bool = False,
    **attributes: Any,
) -> Callable:
    """Decorator that adds a `call`, a class of layers, or a function that makes one.

    Args:
        idea: As of `Entry`.
        on: As of `Entry`.
        parts: Makes the layers inside, by the names of their attributes.
        weights: Shapes of weights, likewise.
        known: Whether it is one of Keras's layers.
        whole: The reason, if it stays whole.
        refused: What the error says.
        apply: As of `Entry`.
        only_torch: As of `Entry`.
        **attributes: More attributes of the class.

    Returns:
        The decorator.
    """
    verdicts = {KNOWN: known, WHOLE: whole, REFUSED: refused}
    verdict = next((each for each, reason in verdicts.items() if reason), INLINED)
    why = whole or refused

    def register(written: Any) -> Any:
        name = written.__name__
        if isinstance(written, type) or written.__code__.co_varnames[:1] != ("self",):
            make = written
        else:
            base = Written if weights is None else WithWeights
            make = type(
                "".join(word.title() for word in name.split("_")),
                (base,),
                {
                    "call": written,
                    "parts": staticmethod(parts),
                    "shapes": weights or {},
                    **attributes,
                },
            )
        assert name not in CATALOGUE, name
        CATALOGUE[name] = Entry(name, idea, make, verdict, why, on, apply, only_torch)
        return written

    return register


def model_of(entry: Entry) -> tuple[keras.Model, layers.Layer]:
    """A classifier with the layer between others, and the layer."""
    layer = entry.make()
    shapes = {
        "vector": (WIDTH,),
        "image": (SIDE, SIDE, WIDTH),
        "ids": (LENGTH,),
        "masked": (LENGTH,),
        "open": (None, WIDTH),
    }
    shape = shapes.get(entry.on, (LENGTH, WIDTH))
    is_ids = entry.on in ("ids", "masked")
    inputs = keras.Input(shape, dtype="int32" if is_ids else "float32")
    x = inputs
    if entry.on == "masked":
        x = layers.Embedding(WORDS, WIDTH, mask_zero=True, name="words")(x)
    elif not is_ids:
        x = layers.Dense(WIDTH, activation="relu", name="before")(x)
    outputs = [each for each in keras.tree.flatten(entry.apply(layer, x)) if each is not None]
    ends = [layers.Dense(5, activation="tanh", name=f"after_{i}")(_vector(each))
            for i, each in enumerate(outputs)]  # fmt: skip
    x = layers.Concatenate(name="ends")(ends) if len(ends) > 1 else ends[0]
    return keras.Model(inputs, layers.Dense(3, name="logits")(x)), layer


def data_of(entry: Entry, samples: int) -> np.ndarray:
    """Inputs of the model."""
    random = np.random.default_rng(samples)
    if entry.on in ("ids", "masked"):
        return random.integers(0, WORDS, (samples, LENGTH)).astype("int32")
    shape = {"vector": (WIDTH,), "image": (SIDE, SIDE, WIDTH)}.get(entry.on, (LENGTH, WIDTH))
    return random.normal(size=(samples, *shape)).astype("float32")


def randomize(model: keras.Model, seed: int) -> None:
    """Gives all weights random values; variances and scales stay positive."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        if "float" not in keras.backend.standardize_dtype(weight.dtype):
            continue
        values = random.normal(size=weight.shape, scale=0.7)
        is_positive = any(word in weight.path for word in ("variance", "positive", "count"))
        weight.assign(np.abs(values) + 0.5 if is_positive else values)


def _vector(tensor: Any) -> Any:
    if "float" not in keras.backend.standardize_dtype(tensor.dtype):
        tensor = ops.cast(tensor, "float32")
    if len(tensor.shape) == 1:
        return ops.expand_dims(tensor, -1)
    if len(tensor.shape) == 2:
        return tensor
    if None in tensor.shape[1:]:
        return layers.GlobalMaxPooling1D()(tensor)
    return layers.Flatten()(tensor)
