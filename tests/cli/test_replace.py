import keras
import numpy as np
import pytest
from command_line import TINY_DATA, ask, fail

import moda_keras as mk


@pytest.mark.parametrize("strategy", ["calibrate", "normalize"])
def test_patched_model_has_the_figures_that_are_told(strategy, small_model, trained, tmp_path):
    output = ("-o", tmp_path / "patched.keras", "--strategy", strategy, "--epochs", 2)
    found = ask("replace", small_model, trained.modules, 3, *TINY_DATA, *output)
    assert (found["target_class"], found["strong_class"]) == ("3", "3")
    data = mk.datasets.load("digits", samples_per_class=6, test_samples_per_class=4)
    for when, path in (("before", small_model), ("after", found["model"])):
        model = keras.saving.load_model(path)
        right = model.predict(data.x_test, verbose=0).argmax(axis=-1) == data.y_test
        is_target = data.y_test == 3
        assert found[f"target_{when}"] == pytest.approx(np.mean(right[is_target]))
        assert found[f"others_{when}"] == pytest.approx(np.mean(right[~is_target]))


def test_any_class_replaces_any(small_model, trained, tmp_path):
    output = ("-o", tmp_path / "patched.keras", "--epochs", 1)
    found = ask(
        "replace", small_model, trained.modules, 3, "--target-class", 5, *TINY_DATA, *output
    )
    assert (found["target_class"], found["strong_class"]) == ("5", "3")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("3", "--target-class", "12"), "Expected --target-class to be one of 0, 1"),
        (("cow",), "Unknown class"),
        (("3", "--image-size", 16), "see --image-size"),
    ],
)
def test_impossible_replacement_is_refused(arguments, message, small_model, trained, tmp_path):
    output = ("-o", tmp_path / "patched.keras")
    assert message in fail("replace", small_model, trained.modules, *arguments, *TINY_DATA, *output)
    assert not (tmp_path / "patched.keras").exists()


def test_name_that_the_weak_model_lacks_is_no_index(small_model, trained, tmp_path):
    """Its class "3" is not the one with index 3 of a model whose classes have other names."""
    modules = mk.load_modules(trained.modules)
    names = [str((digit + 1) % 10) if digit else "eleven" for digit in range(10)]
    mk.ModuleSet.from_units(modules.model, modules.units, class_names=names).save(tmp_path / "m")
    weak = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
    weak.add(keras.layers.Dense(8, activation="relu"))
    weak.add(keras.layers.Dense(5))
    weak.save(tmp_path / "weak.keras")
    data = (*TINY_DATA, "--class-names", "5,6,7,8,9")
    command = ("replace", tmp_path / "weak.keras", tmp_path / "m", 3, *data, "--epochs", 1)
    message = fail(*command, "-o", tmp_path / "patched.keras")
    assert (
        "Received: 3. Choose one of them with --target-class" in message
        and "5, 6, 7, 8, 9" in message
    )
    assert not (tmp_path / "patched.keras").exists()
    found = ask(*command, "--target-class", 3, "-o", tmp_path / "patched.keras")
    assert (found["target_class"], found["strong_class"]) == ("8", "3")
