"""The check that every public function runs on its `modules` argument."""

from typing import Any

import keras

from moda_keras.modules.module_set import ModuleSet


def check_modules(modules: Any) -> None:
    """Raises a ValueError if an argument is not a `ModuleSet`.

    Args:
        modules: The argument.

    Raises:
        ValueError: If it is anything else, such as the model itself.
    """
    if isinstance(modules, ModuleSet):
        return
    received = "a model, " if isinstance(modules, keras.Model) else ""
    raise ValueError(
        "Expected `modules` to be a `ModuleSet`, as `mk.decompose(model, x, y)` or "
        f"`mk.load_modules(path)` returns. Received: {received}modules={modules!r}"
    )
