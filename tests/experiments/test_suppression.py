import numpy as np
from labelled_data import labelled_inputs
from small_models import cnn, random_modules

import moda_keras as mk
from moda_keras.experiments.tables.suppression import (
    SUPPRESSION,
    ablations,
    class_losses,
    silenced_units,
)


def test_summary_averages_single_units():
    figures = dict.fromkeys(SUPPRESSION.figures, 0.0)
    rows = [
        {"network": "n", "method": "m", "seed": 0, "ablated": ablated, **figures, "units": units}
        for ablated, units in [("all", 5), ("fc", 3), ("fc:1", 1), ("fc:4", 1)]
    ]
    summary = SUPPRESSION.summary(rows)
    assert [(row["ablated"], row["cells"], row["units"]) for row in summary] == [
        ("all", 1, 5),
        ("fc", 1, 3),
        ("fc (one by one)", 2, 1),
    ]


def test_losses_are_those_of_the_model_without_the_units():
    """Compared with the masked model that keeps all other units."""
    modules = random_modules(cnn(), fraction=0.6)
    data = labelled_inputs(modules.model)
    units = {name: table.copy() for name, table in modules.units.items()}
    units["fc"][:, [1, 4]] = False
    units["relu1"][:, 2] = False
    modules = mk.ModuleSet.from_units(modules.model, units)
    groups = ablations(silenced_units(modules))
    assert {"all", "fc", "relu1", "fc:1", "fc:4", "relu1:2"} <= set(groups)
    losses = class_losses(modules, groups, *data)
    before = accuracy_by_class(modules.model, *data)
    for name, group in groups.items():
        kept = {n: np.repeat(~mask[None], 4, axis=0) for n, mask in group.items()}
        masked = mk.masked_model(mk.ModuleSet.from_units(modules.model, kept), range(4))
        expected = before - accuracy_by_class(masked, *data)
        np.testing.assert_allclose(losses[name], expected, atol=1e-9, err_msg=name)


def accuracy_by_class(model, x, y):
    predicted = model.predict(x, verbose=0).argmax(axis=-1)
    return np.array([(predicted[y == c] == c).mean() for c in range(4)])
