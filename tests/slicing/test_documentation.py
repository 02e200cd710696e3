"""The pages on slicing say what the registry says, and their examples run."""

import importlib.util
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from masking import check_slicing, randomize

DOCS = Path(__file__).parents[2] / "docs"


def load_script():
    spec = importlib.util.spec_from_file_location("layer_table", DOCS / "layer_table.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_table_of_layers_is_up_to_date():
    page = (DOCS / "layers.md").read_text()
    if f"Keras {keras.__version__}." not in page:
        pytest.skip("the table is of another version of Keras")
    assert page == load_script().table(), "run `python docs/layer_table.py`"


def test_every_layer_of_keras_is_sliced_or_whole_on_purpose():
    script = load_script()
    rows = {name: script.how(name, layer) for name, layer in script.keras_layers().items()}
    assert rows["Dense"].startswith("sliced")
    assert rows["Lambda"].startswith("whole")


def test_examples_run():
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "slicing.md").read_text(), flags=re.DOTALL)
    names = {}
    for block in blocks:
        exec(block, names)
    inputs = keras.Input((4,))
    x = names["Scale"]()(layers.Dense(6, activation="relu", name="units")(inputs))
    model = randomize(keras.Model(inputs, layers.Dense(4)(x)))
    sliced = check_slicing(model, {"units": np.arange(6) < 2})
    assert sliced.layers[2].factor.shape == (2,)
