"""Class-wise magnitude pruning: its scores, its choice, its errors."""

import re
from pathlib import Path

import looped_cnn
import numpy as np
import pytest
from small_models import cnn, inputs_of

import moda_keras as mk
from moda_keras.methods.magnitude import Magnitude

PAGE = Path(__file__).parents[3] / "docs" / "methods" / "magnitude.md"


def outgoing_norms(model):
    """The weights that read each unit; a channel of a flattened map is read at every position."""
    conv2, fc, logits = (
        model.get_layer(name).get_weights()[0].astype("float64")
        for name in ("conv2", "fc", "logits")
    )
    positions = fc.reshape(-1, 4, fc.shape[1])
    return {
        "relu1": [np.sqrt((conv2[:, :, unit] ** 2).sum()) for unit in range(5)],
        "conv2": [np.sqrt((positions[:, unit] ** 2).sum()) for unit in range(4)],
        "fc": [np.sqrt((logits[unit] ** 2).sum()) for unit in range(7)],
    }


def test_scores_are_those_of_loops():
    model, y = cnn(), np.arange(12) % 4
    x = inputs_of(model, len(y))
    search = Magnitude(0.5)
    found = search.run(search.check(model, x, y, batch_size=5), verbose=0)
    means = looped_cnn.mean_magnitudes(model, x, y, 4)
    for name, norms in outgoing_norms(model).items():
        np.testing.assert_allclose(found[name], means[name] * norms, rtol=1e-5, atol=1e-6)
    units = search.decompose(model, x, y, verbose=0).units
    assert [table.sum(axis=1).tolist() for table in units.values()] == [[3] * 4, [2] * 4, [4] * 4]


def test_every_class_gets_its_own_filters():
    model, x, y, own = looped_cnn.cnn_of_own_filters()
    modules = Magnitude(share=1 / 3).decompose(model, x, y, verbose=0)
    assert (modules.units["filters"] == own).all()
    assert (modules.units["features"] == np.eye(3)).all()


def test_composed_model_is_the_masked_one():
    model, y = cnn(), np.arange(12) % 4
    x = inputs_of(model, len(y))
    modules = Magnitude(0.4).decompose(model, x, y, verbose=0)
    small, masked = mk.compose(modules, [2, 0]), mk.masked_model(modules, [2, 0])
    assert small.count_params() < model.count_params()
    expected = masked.predict(x, verbose=0)
    np.testing.assert_allclose(small.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("share", [0, 1.5, None, True])
def test_other_shares_are_refused(share):
    with pytest.raises(ValueError, match="`share`"):
        Magnitude(share=share)


def test_class_without_samples_is_refused():
    model = cnn()
    with pytest.raises(ValueError, match=r"samples of every class for Magnitude.*\['3'\]"):
        Magnitude().decompose(model, inputs_of(model, 3), [0, 1, 2], verbose=0)


def test_example_of_the_page_runs():
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(block, names)
    assert names["small"].output_shape == (None, 2)
