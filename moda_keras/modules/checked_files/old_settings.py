"""Settings in files of Keras 2 that Keras 3 does not know."""

from typing import Any

# What Keras 2 wrote for every layer of a class, with the value at which it changes nothing.
_DROPPED = {
    **dict.fromkeys(
        (
            "DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D",
            "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose",
        ),
        ("groups", 1),
    ),
    **dict.fromkeys(("GRU", "LSTM", "RNN", "SimpleRNN"), ("time_major", False)),
}  # fmt: skip
# How lists were written that are not lists in Python.
_LISTS = ("TensorShape", "__tuple__")


def without_old_settings(node: Any) -> Any:
    """A config that Keras 3 reads.

    Only settings that change nothing are left out, so that Keras refuses the others.

    Args:
        node: The config of a model, or a part of it.

    Returns:
        A copy.
    """
    if isinstance(node, list):
        return [without_old_settings(each) for each in node]
    if not isinstance(node, dict):
        return node
    cleaned = {key: without_old_settings(each) for key, each in node.items()}
    name, settings = cleaned.get("class_name"), cleaned.get("config")
    if not isinstance(name, str):
        return cleaned
    if name in _LISTS:
        return cleaned["items"]
    if name == "Policy":  # of mixed precision
        return settings["name"]
    if name in _DROPPED and isinstance(settings, dict):
        setting, value = _DROPPED[name]
        if settings.get(setting) == value:
            del settings[setting]
    return cleaned
