"""Composed models that keep the other outputs of a model, against masked models made by hand."""

import keras
import numpy as np
import pytest
from keras import layers
from masking import randomize
from several_outputs import (
    MODELS,
    assert_equal_outputs,
    class_model,
    expected_outputs,
    made,
    modules_of,
    outputs_of,
    random_masks,
    samples,
)

import moda_keras as mk


@pytest.mark.parametrize("name", MODELS)
def test_every_output_equals_the_masked_models(name):
    model, modules, masks = modules_of(name)
    x, chosen = samples(model), [2, 0]
    expected = expected_outputs(name, model, masks, chosen, x)
    small = mk.compose(modules, chosen, keep_outputs=model)
    assert_equal_outputs(outputs_of(small, x), expected)
    masked = mk.masked_model(modules, chosen, keep_outputs=model)
    assert_equal_outputs(outputs_of(masked, x), expected)


@pytest.mark.parametrize("name", ["heads", "conditional"])
def test_other_sums_the_probabilities_of_the_dropped_classes(name):
    model, modules, masks = modules_of(name)
    x, everything = samples(model), [0, 1, 2, 3]
    only = {key: np.repeat(each[[2]], 4, axis=0) for key, each in masks.items()}
    expected = expected_outputs(name, model, only, everything, x)
    scores = expected["scores"]
    expected["scores"] = np.stack([scores[:, 2], scores[:, [0, 1, 3]].sum(axis=1)], axis=1)
    for made_by in (mk.compose, mk.masked_model):
        small = made_by(modules, [2], keep_outputs=model, other=True)
        assert_equal_outputs(outputs_of(small, x), expected)
    plain = mk.compose(modules, [2], keep_outputs=model, other=True)
    calibrated = mk.compose(
        modules, [2], keep_outputs=model, other=True, other_data=samples(model, 200)
    )
    plain, calibrated = outputs_of(plain, x), outputs_of(calibrated, x)
    assert np.abs(plain["scores"] - calibrated["scores"]).max() > 1e-4
    del plain["scores"], calibrated["scores"]
    assert_equal_outputs(calibrated, plain)


def test_repair_brings_the_other_outputs_closer_too():
    model, modules, _ = modules_of("heads")
    x, chosen = samples(model, 64, seed=2), [0, 1, 2, 3]
    unseen = samples(model, 64, seed=3)
    full = outputs_of(model, unseen)
    plain = mk.compose(modules, chosen, keep_outputs=model)
    options = {"keep_outputs": model, "calibration_data": x}
    repaired = mk.compose(modules, chosen, verbose=0, **options)
    assert_equal_outputs(
        outputs_of(mk.masked_model(modules, chosen, **options), unseen),
        outputs_of(repaired, unseen),
        tolerance=1e-4,
    )
    for key in ("box", "features", "scores", "task"):
        before, after = (
            np.abs(outputs_of(each, unseen)[key] - full[key]).mean() for each in (plain, repaired)
        )
        assert after < 0.6 * before


@pytest.mark.parametrize("name", ["heads", "maps", "conditional"])
def test_composed_model_saves_and_trains(name, tmp_path):
    model, modules, _ = modules_of(name)
    x = samples(model)
    small = mk.compose(modules, [2, 0], keep_outputs=model)
    small.save(tmp_path / "small.keras")
    loaded = keras.models.load_model(tmp_path / "small.keras")
    assert_equal_outputs(outputs_of(loaded, x), outputs_of(small, x), tolerance=1e-6)
    small.compile("sgd", keras.tree.map_structure(lambda each: "mse", model.output))
    y = small.predict_on_batch(x)
    assert np.isfinite(small.train_on_batch(x, y)).all()


class Net(keras.Model):
    """Outputs in a dict, and a layer of its own."""

    def __init__(self):
        super().__init__()
        self.hidden, self.scores = layers.Dense(8, "relu"), layers.Dense(4, "softmax")
        self.box = layers.Dense(2)

    def call(self, inputs):
        x = self.hidden(inputs)
        return {"scores": self.scores(x), "box": self.box(x), "hidden": x}


def test_subclassed_model():
    net, x = Net(), samples(made(MODELS["heads"][0]))
    net(x)
    randomize(net)
    masks = random_masks({"hidden": 8})
    modules = mk.ModuleSet.from_units(mk.to_functional(net, output="scores"), masks)
    received = outputs_of(mk.compose(modules, [1, 0], keep_outputs=net), x)
    kept = masks["hidden"][[1, 0]].any(axis=0)
    weights = [each.get_weights() for each in (net.hidden, net.scores, net.box)]
    hidden = np.maximum(x @ weights[0][0] + weights[0][1], 0) * kept
    scores = np.exp(hidden @ weights[1][0] + weights[1][1])[:, [1, 0]]
    expected = {
        "scores": scores / scores.sum(axis=1, keepdims=True),
        "box": hidden @ weights[2][0] + weights[2][1],
        "hidden": hidden,
    }
    assert_equal_outputs(received, expected)


def test_modular_training_of_the_class_output_serves_the_whole_model():
    model, _, _ = modules_of("heads")
    x = samples(model, 16)
    modular = mk.ModularModel.from_model(class_model(model, "scores"))
    modular.compile("sgd", "sparse_categorical_crossentropy", modular_loss=mk.MODALoss())
    modular.fit(x, np.arange(16) % 4, verbose=0)
    modules = mk.decompose(modular, x, np.arange(16) % 4, verbose=0)
    small = mk.compose(modules, [0, 3], keep_outputs=model)
    x = samples(model)
    expected = expected_outputs("heads", model, modules.units, [0, 3], x)
    assert_equal_outputs(outputs_of(small, x), expected)
