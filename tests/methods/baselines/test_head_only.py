import keras
import numpy as np
import pytest
from small_models import cnn, inputs_of, mlp

import moda_keras as mk
from moda_keras.methods import baselines


@pytest.mark.parametrize("build", [mlp, cnn])
def test_composed_model_is_the_full_one_at_the_chosen_logits(build):
    model = build()
    modules = baselines.head_only(model)
    small, x = mk.compose(modules, [2, 0]), inputs_of(model, 5)
    np.testing.assert_allclose(
        small.predict(x, verbose=0), model.predict(x, verbose=0)[:, [2, 0]], atol=1e-6
    )
    head = model.get_layer("logits").kernel.shape[0] + 1
    lost = (model.output_shape[-1] - 2) * head
    assert small.count_params() == model.count_params() - lost


def test_every_module_has_all_units_and_the_given_name():
    modules = baselines.head_only(mlp(), ["cat", "dog", "cow"])
    assert all(table.all() for table in modules.units.values())
    assert modules["dog"].class_index == 1


def test_model_without_hidden_activation_has_a_head_too():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    assert mk.compose(baselines.head_only(model), [1, 2]).count_params() == 10


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="class_names"):
        baselines.head_only(mlp(), ["cat", "dog"])
    with pytest.raises(ValueError, match=r"keras.Model|Functional"):
        baselines.head_only("model")
