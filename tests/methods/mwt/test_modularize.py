"""Modules of masks: which kernels, how exact with and without generators, and what is refused."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers
from masking import randomize, run
from mwt_models import chain, masks_of, residual, saturate, with_masks
from small_models import inputs_of, trainable_parameters

import moda_keras as mk
from moda_keras import graph
from moda_keras.methods import mwt
from moda_keras.methods.mwt.modularize import select_kernels

CLASSES = 3


def data_of(model, samples=24):
    """Samples whose class is the brightness of their first channel."""
    x = inputs_of(model, samples)
    y = np.arange(samples) % CLASSES
    return x + np.array([1.5, -0.5])[None, None, None] * y[:, None, None, None], y


@pytest.fixture(scope="module", params=[chain, residual])
def model(request):
    return with_masks(request.param())


@pytest.fixture(scope="module")
def data(model):
    x, y = data_of(model)
    return x.astype("float32"), y


def kernels_by_loops(masks, y, threshold):
    """The authors' rule: at least the threshold, lowered by 0.05 while a layer has nothing."""
    chosen = {}
    for name, mask in masks.items():
        table = np.zeros((CLASSES, mask.shape[1]), bool)
        for c in range(CLASSES):
            rows = [row for row, label in zip(mask, y, strict=True) if label == c]
            frequency = [sum(row[d] > 0 for row in rows) / len(rows) for d in range(mask.shape[1])]
            level = threshold
            while not any(f >= level for f in frequency) and any(frequency):
                level = round(level - 0.05, 10)
            table[c] = [f >= level and f > 0 for f in frequency]
        chosen[f"{name}_mask"] = table
    return chosen


@pytest.mark.parametrize("keep_generators", [True, False])
@pytest.mark.parametrize("threshold", [0.9, 0.7])
@pytest.mark.filterwarnings("ignore:No sample of a class has a mask")
def test_kernels_are_those_of_the_papers_rule(model, data, threshold, keep_generators):
    modules = mwt.modularize(
        model, *data, threshold=threshold, keep_generators=keep_generators, verbose=0
    )
    masks = masks_of(model, data[0])
    expected = kernels_by_loops(masks, data[1], threshold)
    for name, table in expected.items():
        np.testing.assert_array_equal(modules.units[name], table, err_msg=name)
    sizes = [table.mean() for table in expected.values()]
    assert 0.2 < np.mean(sizes) < 0.9
    assert any((table != table[:1]).any() for table in expected.values())
    first = set(modules.units) - set(expected)
    assert first == (
        set() if keep_generators else {"first_mask" if "normed" in masks else "stem_mask"}
    )
    assert all(modules.units[name].all() for name in first)


def test_masks_are_counted_and_averaged_by_class(model, data):
    modules = mwt.modularize(model, *data, keep_generators=True, verbose=0)
    for name, mask in masks_of(model, data[0]).items():
        for c in range(CLASSES):
            own = mask[data[1] == c]
            np.testing.assert_array_equal(
                modules.activation_counts[f"{name}_mask"][c], (own > 0).sum(axis=0)
            )
            np.testing.assert_allclose(
                modules.importance[f"{name}_mask"][c], own.mean(axis=0), atol=1e-5
            )


@pytest.mark.parametrize(
    ("frequency", "threshold", "expected"),
    [
        ([0.95, 0.9, 0.89], 0.9, [1, 1, 0]),  # at least, not more than
        ([0.84, 0.86, 0.1], 0.9, [0, 1, 0]),  # lowered once, to 0.85
        ([0.75, 0.6, 0.74], 0.9, [1, 0, 0]),  # thrice, without rounding errors
        ([0.02, 0.0, 0.04], 0.9, [1, 0, 1]),  # down to 0, but none that is never active
        ([0.0, 0.0, 0.0], 0.9, [0, 0, 0]),
        ([0.0, 0.0, 0.0], 0.0, [1, 1, 1]),
        ([1.0, 0.99, 0.0], 1.0, [1, 0, 0]),
    ],
)
def test_threshold_goes_down_for_a_class_without_kernels(frequency, threshold, expected):
    others = [1.0, 1.0, 1.0]
    units = select_kernels(np.array([frequency, others]), threshold)
    assert units.astype(int).tolist() == [expected, [1, 1, 1]]


@pytest.mark.filterwarnings("ignore:No sample of a class has a mask")
@pytest.mark.parametrize("classes", [[1], [2, 0], [0, 1, 2]])
def test_composed_model_with_generators_is_the_model_where_its_masks_are_in_the_union(
    model, data, classes
):
    modules = mwt.modularize(model, *data, threshold=0.3, keep_generators=True, verbose=0)
    union = modules.union(classes)
    masks = masks_of(model, data[0])
    inside = np.ones(len(data[0]), bool)
    for name, mask in masks.items():
        inside &= ~(mask[:, ~union[f"{name}_mask"]] > 0).any(axis=1)
    assert inside.sum() >= 2
    expected = run(model, [data[0]])[:, classes]
    composed = modules.compose(classes)
    np.testing.assert_allclose(
        run(composed, [data[0]])[inside], expected[inside], rtol=1e-4, atol=1e-5
    )
    if len(classes) == 1:
        assert trainable_parameters(composed) < trainable_parameters(model)


@pytest.mark.parametrize("keep_generators", [True, False])
@pytest.mark.filterwarnings("ignore:No sample of a class has a mask")
def test_composed_model_is_the_masked_model(model, data, keep_generators):
    modules = mwt.modularize(model, *data, keep_generators=keep_generators, verbose=0)
    expected = run(mk.masked_model(modules, [2, 0]), [data[0]])
    received = run(modules.compose([2, 0]), [data[0]])
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(expected, axis=0).min() > 0.01


@pytest.mark.parametrize("factors", ["one", "mean"])
def test_without_generators_nothing_is_lost_where_masks_are_zeros_and_ones(factors):
    model = saturate(
        with_masks(residual()),
        {
            "conv1a": [1, 0, 1, 1, 0],
            "conv1b": [0, 0, 1, 0, 1],
            "conv2a": [1, 1, 0, 0, 0, 1, 0, 0],
            "conv2b": [0, 1, 0, 0, 1, 1, 0, 0],
            "shortcut": [1, 1, 0, 1, 0, 0, 0, 0],
        },
    )
    x, y = data_of(model)
    modules = mwt.modularize(model, x.astype("float32"), y, factors=factors, verbose=0)
    composed = modules.compose([0, 1, 2])
    expected = run(model, [x])
    np.testing.assert_allclose(run(composed, [x]), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(run(modules.model, [x]) - expected).max() > 0.1
    kept = {layer.name: layer.filters for layer in composed.layers if hasattr(layer, "filters")}
    # As the paper pads: every convolution has its own kernels, though sums join other channels.
    assert kept == {"stem": 5, "conv1a": 3, "conv1b": 2, "conv2a": 3, "conv2b": 3, "shortcut": 3}


def test_residual_branch_without_kernels_is_gone():
    model = saturate(with_masks(residual()), {"conv1b": [0] * 5})
    x, y = data_of(model)
    with pytest.warns(UserWarning, match=r"no kernel there.*beta"):
        modules = mwt.modularize(model, x, y, threshold=0.1, verbose=0)
    assert not modules.units["conv1b_mask"].any()
    expected = run(mk.masked_model(modules, [0, 1]), [x])
    np.testing.assert_allclose(run(modules.compose([0, 1]), [x]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("factors", ["one", "mean"])
def test_factors_take_the_place_of_the_masks(model, data, factors):
    modules = mwt.modularize(model, *data, factors=factors, threshold=0.0, verbose=0)
    means = {}
    for name, mask in masks_of(model, data[0]).items():
        active = [column[column > 0] for column in mask.T]
        means[name] = [each.mean() if len(each) and factors == "mean" else 1.0 for each in active]
    traced = graph.trace(model)
    tensors = {tensor: h for h, tensor in graph.hidden_activations_of(traced)}

    def replace(tensor, value):
        if tensor not in tensors:
            return value
        constant = np.array(means[tensors[tensor].name.removesuffix("_mask")], "float32")
        return keras.ops.convert_to_tensor(constant.reshape(1, 1, 1, -1)) + 0 * value

    values = traced.run([keras.ops.convert_to_tensor(data[0])], transform=replace)
    expected = keras.ops.convert_to_numpy(values[traced.outputs[0]])
    np.testing.assert_allclose(run(modules.model, [data[0]]), expected, rtol=1e-4, atol=1e-5)


def test_composed_model_is_plain_keras_without_marks_and_with_the_layers_of_the_cnn():
    cnn = chain()
    model = with_masks(cnn)
    x, y = data_of(model)
    modules = mwt.modularize(model, x, y, verbose=0)
    assert {type(each.operation) for each in modules.hidden_activations} == {
        mk.layers.ModularActivation
    }
    composed = modules.compose([0, 2])
    assert {type(layer).__module__.partition(".")[0] for layer in composed.layers} == {"keras"}
    names = [layer.name for layer in cnn.layers]
    names.insert(names.index("own") + 1, "own_activation")
    assert [layer.name for layer in composed.layers] == names


@pytest.mark.filterwarnings("ignore:No sample of a class has a mask")
def test_modules_come_back_from_a_file(model, data, tmp_path):
    modules = mwt.modularize(model, *data, verbose=0)
    modules.save(tmp_path / "mwt.modules")
    loaded = mk.load_modules(tmp_path / "mwt.modules")
    for name, table in modules.units.items():
        np.testing.assert_array_equal(loaded.units[name], table)
    received = run(loaded.compose([1, 2]), [data[0]])
    np.testing.assert_allclose(
        received, run(modules.compose([1, 2]), [data[0]]), rtol=1e-4, atol=1e-6
    )


def test_other_threshold_needs_no_second_pass(model, data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for keep in (True, False):
            modules = mwt.modularize(model, *data, threshold=0.9, keep_generators=keep, verbose=0)
            other = mwt.with_threshold(modules, 0.4)
            expected = mwt.modularize(model, *data, threshold=0.4, keep_generators=keep, verbose=0)
            assert other.threshold == expected.threshold
            for name, table in expected.units.items():
                np.testing.assert_array_equal(other.units[name], table)
            assert other.with_threshold(0.9).activation_counts is not None


def test_threshold_can_differ_between_masks():
    model = with_masks(chain())
    x, y = data_of(model)
    each = {"normed_mask": 0.0, "own_mask": 1.0}
    modules = mwt.modularize(model, x, y, threshold=each, verbose=0)
    assert modules.units["normed_mask"].all() and not modules.units["own_mask"].all()
    assert modules.units["first_mask"].all()


def test_labels_may_be_names_and_a_class_may_be_absent():
    model = with_masks(chain())
    x, y = data_of(model)
    names = ["ant", "bee", "cat"]
    with pytest.warns(UserWarning, match="no sample of the classes"):
        modules = mwt.modularize(
            model, x[y < 2], np.array(names)[y[y < 2]], class_names=names, verbose=0
        )
    assert modules.class_names == tuple(names)
    assert not modules.units["own_mask"][2].any() and not modules.units["first_mask"][2].any()
    assert modules.compose(["bee", "ant"]).output_shape == (None, 2)


def test_model_with_masks_is_left_as_it_was(model, data):
    before = [(layer.name, len(layer._inbound_nodes)) for layer in model.layers]
    weights = model.get_weights()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        modules = mwt.modularize(model, *data, verbose=0)
    run(modules.model, [data[0]])  # on JAX it would delete arrays that the models shared
    modules.model.set_weights([weight * 0 for weight in modules.model.get_weights()])
    assert [(layer.name, len(layer._inbound_nodes)) for layer in model.layers] == before
    assert all((a == b).all() for a, b in zip(weights, model.get_weights(), strict=True))


def test_means_of_a_separable_convolution_go_into_its_pointwise_kernel():
    image = keras.Input((5, 5, 2))
    x = layers.Conv2D(3, 2, activation="relu")(image)
    x = layers.SeparableConv2D(4, 2, name="conv")(x)
    outputs = layers.Dense(CLASSES)(layers.Flatten()(x))
    model = with_masks(randomize(keras.Model(image, outputs)))
    x, y = data_of(model)
    modules = mwt.modularize(model, x, y, threshold=0.0, verbose=0)
    mask = masks_of(model, x)["conv"]
    factor = [c[c > 0].mean() if (c > 0).any() else 1.0 for c in mask.T]
    for name in ("pointwise_kernel", "bias"):
        received = getattr(modules.model.get_layer("conv"), name)
        expected = keras.ops.convert_to_numpy(getattr(model.get_layer("conv"), name)) * factor
        np.testing.assert_allclose(received, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "arguments", [{"factors": "half"}, {"threshold": 1.5}, {"threshold": -0.1}]
)
def test_impossible_argument_is_refused(arguments):
    model = with_masks(chain())
    with pytest.raises(ValueError, match=rf"Expected `{next(iter(arguments))}`.*Received"):
        mwt.modularize(model, *data_of(model), verbose=0, **arguments)


def test_model_without_generators_is_refused():
    cnn = chain()
    with pytest.raises(ValueError, match=r"mask generators.*from_model.*'chain'.*normed_relu"):
        mwt.modularize(cnn, *data_of(cnn), verbose=0)
    modular = mk.ModularModel.from_model(cnn)
    with pytest.raises(ValueError, match="mask generators"):
        mwt.modularize(modular, *data_of(cnn), verbose=0)


def test_labels_that_are_missing_or_out_of_range_are_refused():
    model = with_masks(chain())
    x, y = data_of(model)
    with pytest.raises(ValueError, match="Expected labels"):
        mwt.modularize(model, x, verbose=0)
    with pytest.raises(ValueError, match=r"0 to 2|\[0, 3\)"):
        mwt.modularize(model, x, y + 1, verbose=0)


def test_modules_without_counts_are_refused():
    modules = mk.ModuleSet.from_units(chain(), {})
    with pytest.raises(ValueError, match="with_threshold"):
        mwt.with_threshold(modules, 0.5)


@pytest.mark.parametrize("keep_generators", [True, False])
def test_other_tools_take_the_modules(keep_generators):
    model = with_masks(residual())
    x, y = data_of(model)
    modules = mwt.modularize(model, x, y, keep_generators=keep_generators, verbose=0)
    evaluator = mk.metrics.MaskedEvaluator(modules)
    ((rows, logits),) = evaluator.logits([(0, 2)], x, y)
    expected = run(modules.compose([0, 2]), [x[rows]])
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
    repaired = modules.compose([0, 2], calibration_data=x)
    masked = mk.masked_model(modules, [0, 2], calibration_data=x)
    np.testing.assert_allclose(run(repaired, [x]), run(masked, [x]), rtol=1e-3, atol=1e-3)


def test_marks_stay_if_asked_for():
    model = with_masks(chain())
    modules = mwt.modularize(model, *data_of(model), verbose=0)
    plan = modules.plan([0, 1])
    kept = modules.slicer.build(plan, keep_marks=True)
    names = [hidden.name for hidden in mk.find_hidden_activations(kept)]
    assert names == list(modules.units)
    x, _ = data_of(model)
    expected = run(modules.compose([0, 1]), [x])
    np.testing.assert_allclose(run(kept, [x]), expected, rtol=1e-4, atol=1e-6)
