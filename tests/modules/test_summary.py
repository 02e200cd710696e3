import keras
import numpy as np
from keras import layers
from small_models import random_modules

import moda_keras as mk


def lines_of(modules, **options):
    lines = []
    modules.summary(print_fn=lines.append, **options)
    return lines


def deep_model(activations, classes=3):
    inner = [layers.Dense(4, activation="relu", name=f"layer{i}") for i in range(activations)]
    return keras.Sequential([keras.Input((2,)), *inner, layers.Dense(classes)], name="deep")


def test_a_row_for_each_class_with_units_and_size():
    modules = random_modules(deep_model(2))
    title, header, *rows = lines_of(modules)
    assert title.startswith("Modules of 'deep': 3 classes, 2 hidden activations")
    assert header.split() == ["class", "layer0", "(4)", "layer1", "(4)", "size"]
    for index, row in enumerate(rows):
        units = [str(int(modules.units[name][index].sum())) for name in ("layer0", "layer1")]
        size = f"{100 * modules[index].size:.1f}"
        assert row.split() == [str(index), *units, size, "%"]
    assert len({len(line) for line in (header, *rows)}) == 1


def test_class_without_samples():
    counts = {f"layer{i}": np.ones((3, 4), int) for i in range(2)}
    modules = mk.ModuleSet.from_counts(deep_model(2), counts, [1, 0, 1])
    assert lines_of(modules)[3].split() == ["1", "-", "-", "no", "samples"]


def test_many_activations_and_classes_are_shortened():
    lines = lines_of(random_modules(deep_model(9, classes=6)), max_activations=4, max_classes=2)
    shown = [word for word in lines[1].split() if word.startswith(("layer", "..."))]
    assert shown == ["layer0", "layer1", "...", "layer7", "layer8"]
    assert len(lines) == 5 and lines[-1] == "... and 4 more classes"
