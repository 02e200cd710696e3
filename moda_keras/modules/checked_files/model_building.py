"""Building models from their configs, each Sequential model once."""

from collections.abc import Mapping
from typing import Any

import keras

_NAME = "moda_keras>SequentialAtOnce"


class SequentialAtOnce:
    """Makes Sequential models in time that grows with the number of their layers.

    Keras builds such a model again with each layer that it adds, which takes minutes for some
    hundred layers.
    """

    @staticmethod
    def from_config(config: dict[str, Any]) -> keras.Sequential:
        """The model that `keras.Sequential.from_config` makes.

        Args:
            config: From `keras.Sequential.get_config`, also as HDF5 files hold it.
        """
        model = keras.Sequential(list(map(_layer, config["layers"])), name=config["name"])
        shape = config.get("build_input_shape")
        if shape and not model.built:
            model.build(tuple(shape))
        return model


def _layer(config: dict[str, Any]) -> keras.layers.Layer:
    if "module" in config:
        return keras.saving.deserialize_keras_object(config)
    if config["class_name"] == "InputLayer":  # which a Sequential model does not show
        settings = dict(config["config"])
        if "batch_input_shape" in settings:
            settings["batch_shape"] = settings.pop("batch_input_shape")
        return keras.layers.InputLayer.from_config(settings)
    (layer,) = keras.Sequential.from_config({"name": "part", "layers": [config]}).layers
    return layer


def build_model(
    config: dict[str, Any], custom_objects: Mapping[str, Any], safe_mode: bool
) -> keras.Model:
    """Builds a model as `keras.saving.deserialize_keras_object` does.

    Args:
        config: From config.json in a .keras file.
        custom_objects: As of `keras.saving.load_model`.
        safe_mode: As of `keras.saving.load_model`.

    Returns:
        The model with new weights.
    """
    return keras.saving.deserialize_keras_object(
        _at_once(config),
        custom_objects={**custom_objects, _NAME: SequentialAtOnce},
        safe_mode=safe_mode,
    )


def build_old_model(
    config: dict[str, Any], custom_objects: Mapping[str, Any], safe_mode: bool = True
) -> keras.Model:
    """Builds a model as `keras.saving.load_model` does with an HDF5 file.

    Args:
        config: From an HDF5 file.
        custom_objects: As of `keras.saving.load_model`.
        safe_mode: Always; Python lambdas are refused.

    Returns:
        The model with new weights.

    Raises:
        ValueError: If it is not of a class that such files can hold.
    """
    classes = {"Functional": keras.Model, "Model": keras.Model, "Sequential": SequentialAtOnce}
    name = str(config["class_name"])
    with keras.saving.CustomObjectScope(dict(custom_objects)):
        found = classes.get(name) or keras.saving.get_registered_object(name)
        if found is None:
            raise ValueError(
                f"its model is of the class {name!r}, which is not registered. Where there is the "
                "class, load the file with `keras.saving.load_model` and save it as a .keras file"
            )
        return found.from_config(config["config"])


def _at_once(node: Any) -> Any:
    """A copy of a config whose Sequential models are made by `SequentialAtOnce`."""
    if isinstance(node, list):
        return [_at_once(each) for each in node]
    if not isinstance(node, dict):
        return node
    copied = {key: _at_once(each) for key, each in node.items()}
    if (node.get("module"), node.get("class_name")) == ("keras", "Sequential"):
        copied["registered_name"] = _NAME
    return copied
