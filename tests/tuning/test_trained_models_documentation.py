"""The examples of the page on models that are already trained run."""

import re
from pathlib import Path

import keras
import pytest
from small_models import BACKEND

import moda_keras as mk

PAGE = Path(__file__).parents[2] / "docs" / "trained-models.md"


@pytest.mark.skipif(BACKEND != "torch", reason="its parts are tested on every backend")
def test_examples_run():
    pytest.importorskip("sklearn")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    names = {}
    keras.utils.set_random_seed(0)
    *others, fine_tuning = blocks
    for block in others:
        exec(block.replace("epochs=20", "epochs=8"), names)
    assert len(blocks) == 7
    assert names["by_magnitude"].criterion == "magnitude"
    assert mk.metrics.module_size(names["each"]).max() <= 0.4
    assert names["small"].count_params() <= 0.2 * names["model"].count_params()
    data, classes = (names["x_test"], names["y_test"]), [3, 5]
    full = mk.metrics.full_accuracy(names["model"], classes, *data)
    assert [row["model"] for row in names["rows"]][:3] == ["full", "head only", "slim"]
    assert mk.metrics.reuse_accuracy(names["pair"], classes, *data) >= full - 0.01
    exec(fine_tuning, names)  # changes the model
    assert names["tuned"].num_classes == 10
