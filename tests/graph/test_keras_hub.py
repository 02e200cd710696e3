"""Classifiers of KerasHub, where it is installed."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest

import moda_keras as mk

PAGE = Path(__file__).parents[2] / "docs" / "keras-hub.md"
pytest.importorskip("keras_hub")


def vit(hub):
    sizes = {"patch_size": 4, "num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 12}
    backbone = hub.ViTBackbone(image_shape=(8, 8, 3), **sizes)
    return hub.ViTImageClassifier(backbone=backbone, num_classes=3)


def bert(hub):
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 12}
    backbone = hub.BertBackbone(vocabulary_size=9, max_sequence_length=6, **sizes)
    return hub.BertTextClassifier(backbone=backbone, num_classes=3)


def data_for(model):
    random = np.random.default_rng(0)
    if not isinstance(model.input, dict):
        return random.normal(size=(4, 8, 8, 3)).astype("float32")
    mask = (np.arange(6) < np.array([[3], [6], [4], [5]])).astype("int32")
    tokens = random.integers(1, 9, (4, 6)) * mask
    return {"token_ids": tokens, "segment_ids": 0 * tokens, "padding_mask": mask}


@pytest.mark.parametrize("make", [vit, bert])
def test_composed_classifier_equals_the_masked_one_without_its_classes(make):
    import keras_hub

    model = make(keras_hub.models)
    random = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign(weight + random.normal(0, 0.3, weight.shape))
    units = {
        each.name: np.tile(random.permutation(each.units) < each.units / 2, (3, 1))
        for each in mk.find_hidden_activations(model)
    }
    modules = mk.ModuleSet.from_units(model, units)
    small, masked = mk.compose(modules, [2, 0]), mk.masked_model(modules, [2, 0])
    x = data_for(model)
    np.testing.assert_allclose(
        small.predict(x, verbose=0), masked.predict(x, verbose=0), rtol=1e-4, atol=1e-5
    )
    assert {type(layer).__module__.partition(".")[0] for layer in small.layers} <= {
        "keras", "moda_keras",
    }  # fmt: skip
    assert isinstance(small, keras.Model)


def test_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first, full_size = re.findall(
        r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    names = {}
    exec(first, names)
    exec(full_size, names)
    assert (tmp_path / "small.keras").exists()
    assert "at most 76.0 % of 109,486,085 parameters" in capsys.readouterr().out
