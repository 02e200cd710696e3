import multiprocessing
import os

import keras
import numpy as np
import oracles
import pytest

from moda_keras.ops.native import core as native

if keras.backend.backend() != "torch":
    pytest.skip("PyTorch's operators", allow_module_level=True)
if native.extension() is None:
    pytest.skip("the extension was not built", allow_module_level=True)

import torch

import moda_keras as mk
from moda_keras.ops.native import torch as torch_native

CLASSES = 4
LABELS = torch.tensor([0, 1, 0, 3, 1, 4, 0], dtype=torch.int32)  # class 2 absent, 4 is no class
OPTIONS = [(pairs, unit) for pairs in (False, True) for unit in (False, True)]
LAYOUTS = ["matrix", "channels_last", "channels_first", "window", "every_second_unit", "volume"]
TOLERANCES = {
    torch.float64: 1e-12,
    torch.float32: 2e-6,
    torch.float16: 2e-3,
    torch.bfloat16: 1.6e-2,
}


@pytest.fixture(autouse=True)
def native_only(monkeypatch):
    monkeypatch.setattr(native, "mode", lambda: "1")


def draw(layout, dtype=torch.float32, samples=7, seed=0):
    """Activations in one memory layout, and the axis of their units."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(samples, *shape, generator=generator, dtype=torch.float64).to(dtype)

    if layout == "matrix":
        return normal(19), 1
    if layout == "channels_last":
        return normal(5, 3, 19), 3
    if layout == "channels_first":
        return normal(9, 5, 7), 1
    if layout == "window":
        return normal(9, 8, 19)[:, 2:7, 1:4], 3
    if layout == "every_second_unit":
        return normal(6, 38)[:, :, ::2], 2
    return normal(3, 2, 4, 17).permute(0, 4, 1, 2, 3), 1


def to_float64(tensor):
    return tensor.detach().to(torch.float64).numpy()


def compute(activations, axes, known, options, labels=LABELS):
    return torch_native.objectives(activations, labels, CLASSES, axes, known, *options)[0]


def oracle_of(activation, axis, options):
    """Values and, by central differences of the values' closed form, nothing else."""
    averaging, form = ("pair" if options[0] else "class"), ("unit" if options[1] else "norm")
    labels, weight = LABELS.tolist(), [float(label < CLASSES) for label in LABELS]
    values = oracles.objectives(
        [to_float64(activation)],
        labels,
        CLASSES,
        sample_weight=weight,
        axes=[axis],
        averaging=averaging,
        form=form,
    )
    return [values[name] for name in ("affinity", "dispersion", "compactness")]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_objectives_are_those_of_loops(layout, dtype, options):
    activation, axis = draw(layout, dtype)
    (values,) = compute([activation], [axis], [False], options)
    # The elements are exact: only the sums over positions are not in float64.
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    np.testing.assert_allclose(
        values, oracle_of(activation, axis, options), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradient_is_that_of_the_reference_in_float64(layout, dtype):
    activation, axis = draw(layout, dtype)
    upstream = torch.tensor([[0.7, 1.3, 0.4]], dtype=torch.float64)
    gradient = gradient_of(activation, axis, upstream, False)
    exact = activation.detach().to(torch.float64).requires_grad_()
    reference = mk.MODALoss()._reference_objectives([exact], LABELS, CLASSES, [axis], [False])
    (expected,) = torch.autograd.grad((reference * upstream).sum(), exact)
    scale = float(expected.abs().max())
    np.testing.assert_allclose(
        to_float64(gradient), expected, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype] * scale
    )


def gradient_of(activation, axis, upstream, known):
    leaf = activation.detach().requires_grad_()
    values = compute([leaf], [axis], [known], (False, True))
    return torch.autograd.grad((values * upstream).sum(), leaf)[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradcheck_in_float64(layout):
    activation, axis = draw(layout, torch.float64)
    activation = activation.detach().requires_grad_()

    def of(x):
        return compute([x], [axis], [False], (False, True))

    assert torch.autograd.gradcheck(of, (activation,), eps=1e-6, atol=1e-7)


def test_gradcheck_of_class_statistics():
    activation, axis = draw("channels_last", torch.float64)
    activation = activation.detach().requires_grad_()

    def of(x):
        results = torch_native.class_statistics(x, LABELS, CLASSES, axis, False)
        return results[0], results[3]

    assert torch.autograd.gradcheck(of, (activation,), eps=1e-6, atol=1e-7)


def test_known_sign_gives_the_same_gradient_without_writing_it():
    activation, axis = draw("channels_last")
    upstream = torch.tensor([[0.7, 1.3, 0.4]], dtype=torch.float64)
    positive = activation.abs() + 0.1
    gradient = gradient_of(positive, axis, upstream, True)
    np.testing.assert_allclose(
        gradient, gradient_of(positive, axis, upstream, False), rtol=1e-6, atol=1e-9
    )
    assert gradient.stride()[1:3] == (0, 0)


@pytest.mark.parametrize("name", ["objectives", "class_statistics", "activation_frequency"])
def test_opcheck(name):
    activations = [draw(layout)[0] for layout in LAYOUTS]
    axes = [draw(layout)[1] for layout in LAYOUTS]
    known = [False, True, False, True, False, False]
    leaves = [
        (a.abs() if k else a).detach().requires_grad_()
        for a, k in zip(activations, known, strict=True)
    ]
    arguments = {
        "objectives": (leaves, LABELS, CLASSES, axes, known, False, True),
        "class_statistics": (leaves[1], LABELS, CLASSES, axes[1], True),
        "activation_frequency": (activations, LABELS, CLASSES, axes, [0.0] * len(axes)),
    }
    torch.library.opcheck(getattr(torch_native, name), arguments[name])


def test_compiled_whole_graph_equals_eager():
    activations = [draw(layout)[0].relu() for layout in ("matrix", "channels_last")]
    loss = mk.MODALoss()

    def step(tensors):
        return loss([t.relu() for t in tensors], LABELS % CLASSES, CLASSES, non_negative=[True] * 2)

    def value_and_gradients(function):
        leaves = [a.detach().requires_grad_() for a in activations]
        value = function(leaves)
        return [value, *torch.autograd.grad(value, leaves)]

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for actual, expected in zip(
        value_and_gradients(compiled), value_and_gradients(step), strict=True
    ):
        torch.testing.assert_close(actual, expected)


def test_autocast_leaves_statistics_in_float32():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = torch.relu(torch.randn(7, 8) @ torch.randn(8, 5))
        assert hidden.dtype == torch.bfloat16
        value = mk.MODALoss()([hidden], LABELS % CLASSES, CLASSES)
    assert value.dtype == torch.float32


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_frequency_is_that_of_loops(layout, dtype):
    activation, axis = draw(layout, dtype)
    sparse = torch.where(activation > 1.2, activation, torch.zeros_like(activation))
    by_unit = np.moveaxis(to_float64(sparse), axis, 1)
    for epsilon in (0.0, 1.5):
        expected = np.zeros((CLASSES, by_unit.shape[1]), int)
        for sample, label in zip(by_unit, LABELS.tolist(), strict=True):
            for unit, values in enumerate(sample):
                if label < CLASSES:
                    expected[label, unit] += bool((np.abs(values) > epsilon).any())
        (counts,), not_finite = torch_native.activation_frequency(
            [sparse], LABELS, CLASSES, [axis], [epsilon]
        )
        assert not_finite.tolist() == [0]
        np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_frequency_counts_units_that_are_not_finite(dtype, value):
    activations = [draw("channels_last", dtype)[0], draw("channels_first", dtype)[0].clone()]
    activations[1][2, 4, 1, 3] = value
    _, not_finite = torch_native.activation_frequency(
        activations, LABELS, CLASSES, [3, 1], [0.0, 0.0]
    )
    assert not_finite.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_and_written_exactly(dtype):
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    every = bits.view(dtype)
    finite = every[torch.isfinite(every)]
    # One unit, one position: its magnitude is its compactness.
    statistics = torch_native.class_statistics(
        finite[:, None], torch.arange(len(finite), dtype=torch.int32), len(finite), 1, False
    )
    np.testing.assert_array_equal(statistics[3], finite.float().abs())

    # The gradient of the L1 norm is the sign times the upstream value, rounded to the type.
    upstream = torch.cat([finite.float(), torch.tensor([65519.9, 65520.1, 1e-8, 3e-8, 1.0005])])
    leaf = torch.ones(len(upstream), 1, dtype=dtype).requires_grad_()
    labels = torch.arange(len(upstream), dtype=torch.int32)
    l1 = torch_native.class_statistics(leaf, labels, len(upstream), 1, False)[3]
    (gradient,) = torch.autograd.grad(l1, leaf, upstream)
    np.testing.assert_array_equal(gradient[:, 0].float(), upstream.to(dtype).float())


def test_results_do_not_depend_on_the_number_of_threads():
    # More than a megabyte, or it would be serial.
    activations = [torch.randn(32, 16, 16, 96).abs(), torch.randn(32, 2048)]
    labels = torch.arange(32, dtype=torch.int32) % CLASSES
    results = []
    before = native.extension().threads()
    try:
        for threads in (1, 2, 5):
            native.extension().set_threads(threads)
            leaves = [a.detach().requires_grad_() for a in activations]
            values = compute(leaves, [3, 1], [True, False], (False, True), labels)
            results.append([values, *torch.autograd.grad(values.sum(), leaves)])
    finally:
        native.extension().set_threads(before)
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            assert torch.equal(first, second)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_pool_survives_a_fork():
    activation = torch.randn(64, 16, 16, 64)
    labels = torch.arange(64, dtype=torch.int32) % CLASSES
    expected = compute([activation], [3], [False], (False, True), labels).tolist()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()

    def in_child():
        queue.put(compute([activation], [3], [False], (False, True), labels).tolist())

    child = context.Process(target=in_child)
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert queue.get() == expected


@pytest.mark.parametrize("scale", [1e-40, 1e-20, 1e20, 1e37])
def test_scale_of_a_vector_changes_no_similarity(scale):
    activation, axis = draw("matrix")
    values = compute([activation * scale], [axis], [False], (False, True))
    expected = compute([activation], [axis], [False], (False, True))
    np.testing.assert_allclose(values[0, :2], expected[0, :2], rtol=1e-3)


def test_nan_and_infinity_reach_the_objectives():
    for value in (float("nan"), float("inf")):
        activation, axis = draw("matrix")
        activation[0, 0] = value
        values = compute([activation], [axis], [False], (False, True))
        assert torch.isnan(values[0, :2]).all()
        assert not torch.isfinite(values[0, 2])
