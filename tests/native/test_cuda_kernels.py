"""The CUDA kernels, run by an emulation on the processor, against loops and the CPU core."""

from contextlib import contextmanager

import keras
import ml_dtypes
import numpy as np
import oracles
import pytest
from cuda_emulation import COMPILER, Memory, Runner, build

from moda_keras.ops.native import libraries
from moda_keras.ops.native.descriptors import structs
from moda_keras.ops.native.operations import CudaOperations, Inputs

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="no g++"),
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="the same on every backend"),
]
needs_cpu_core = pytest.mark.skipif(libraries.cpu() is None, reason="the library was not built")

CLASSES = 4
LABELS = [0, 1, 0, 3, 1, 4, 0]  # class 2 absent, 4 is no class
OPTIONS = [(pairs, unit) for pairs in (False, True) for unit in (False, True)]
UPSTREAM = [0.7, 1.3, 0.4]
TOLERANCES = {
    np.dtype("float64"): 1e-12,
    np.dtype("float32"): 2e-6,
    np.dtype("float16"): 2e-3,
    np.dtype(ml_dtypes.bfloat16): 1.6e-2,
}
DTYPES = list(TOLERANCES)


@pytest.fixture(scope="module")
def library(request):
    return libraries.load_cuda(build(request.config.cache.mkdir("cuda_emulation")))


@pytest.fixture(params=[False, True], ids=["ascending", "descending"])
def emulated(request, library):
    """Runs threads and blocks in both orders: what depends on a missing barrier differs."""
    library.emulation_descend(request.param)
    yield Runner(library)
    library.emulation_descend(False)


@pytest.fixture
def cpu():
    return Runner(libraries.cpu())


def normal(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def unaligned(array):
    """The same in memory that starts one element past an aligned address."""
    flat = np.empty(array.size + 1, array.dtype)[1:]
    flat[:] = array.ravel()
    return flat.reshape(array.shape)


# Activations of seven samples, and the axis of their units. Those whose extents are multiples of 16
# go in vectors, others element by element; "long" ones have more than one block to a sample.
LAYOUTS = {
    "matrix": lambda d: (normal((7, 19), d), 1),
    "matrix_vectors": lambda d: (normal((7, 48), d), 1),
    "matrix_long": lambda d: (normal((7, 1040), d), 1),
    "matrix_long_odd": lambda d: (normal((7, 1037), d), 1),
    "matrix_unaligned": lambda d: (unaligned(normal((7, 48), d)), 1),
    "matrix_transposed": lambda d: (normal((19, 7), d).T, 1),
    "channels_last": lambda d: (normal((7, 5, 3, 19), d), 3),
    "channels_last_vectors": lambda d: (normal((7, 3, 5, 32), d), 3),
    "channels_last_wide": lambda d: (normal((7, 2, 1, 2064), d), 3),
    "channels_last_long": lambda d: (normal((7, 40, 45, 24), d), 3),
    "channels_first": lambda d: (normal((7, 9, 5, 7), d), 1),
    "channels_first_vectors": lambda d: (normal((7, 9, 4, 8), d), 1),
    "channels_first_long": lambda d: (normal((7, 3, 80, 72), d), 1),
    "window": lambda d: (normal((7, 9, 8, 19), d)[:, 2:7, 1:4], 3),
    "window_vectors": lambda d: (normal((7, 6, 8, 16), d)[:, 2:5, 1:4], 3),
    "window_channels_first": lambda d: (normal((7, 5, 6, 16), d)[:, :, 1:5, 8:], 1),
    "every_second_unit": lambda d: (normal((7, 6, 38), d)[:, :, ::2], 2),
    "every_second_position": lambda d: (normal((7, 5, 18), d)[:, :, ::2], 1),
    "volume": lambda d: (normal((7, 3, 2, 4, 17), d).transpose(0, 4, 1, 2, 3), 1),
    "one_unit": lambda d: (normal((7, 13, 1), d), 2),
}


def in_float64(activation):
    return np.ascontiguousarray(activation).astype(np.float64)


def oracle_of(activation, axis, options, labels=LABELS, classes=CLASSES):
    values = oracles.objectives(
        [in_float64(activation)],
        labels,
        classes,
        sample_weight=[float(0 <= label < classes) for label in labels],
        axes=[axis],
        averaging="pair" if options[0] else "class",
        form="unit" if options[1] else "norm",
    )
    return [values[name] for name in ("affinity", "dispersion", "compactness")]


# ---------------------------------------------------------------------------------- objectives


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_objectives_are_those_of_loops(library, layout, dtype):
    activation, axis = LAYOUTS[layout](dtype)
    values = Runner(library).objectives([activation], [axis], LABELS, CLASSES)
    tolerance = 1e-12 if dtype == np.float64 else 2e-6
    expected = oracle_of(activation, axis, (False, True))
    np.testing.assert_allclose(values[0], expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("options", OPTIONS)
def test_every_form_of_the_objectives(emulated, options):
    activation, axis = LAYOUTS["channels_last"](np.float64)
    values = emulated.objectives([activation], [axis], LABELS, CLASSES, options)
    np.testing.assert_allclose(values[0], oracle_of(activation, axis, options), rtol=1e-12)


@pytest.mark.parametrize("options", OPTIONS)
def test_gradient_is_that_of_differences(emulated, options):
    activation, axis = normal((7, 2, 5), np.float64), 2

    def total(point):
        return float(np.dot(oracle_of(point, axis, options), UPSTREAM))

    _, (gradient,) = emulated.objectives([activation], [axis], LABELS, CLASSES, options, [UPSTREAM])
    expected = oracles.numeric_gradient(total, activation)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


@needs_cpu_core
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradient_is_that_of_the_cpu_core_in_float64(emulated, cpu, layout, dtype):
    activation, axis = LAYOUTS[layout](dtype)
    # So large that no gradient is a subnormal number of half precision.
    upstream = [[1e4 * u for u in UPSTREAM]]
    arguments = ([axis], LABELS, CLASSES, (False, True), upstream)
    _, (gradient,) = emulated.objectives([activation], *arguments)
    _, (expected,) = cpu.objectives([in_float64(activation)], *arguments)
    close(gradient, expected, TOLERANCES[dtype])


def close(actual, expected, tolerance):
    expected = in_float64(expected)
    scale = np.abs(expected).max(initial=0)
    np.testing.assert_allclose(in_float64(actual), expected, rtol=tolerance, atol=tolerance * scale)


@needs_cpu_core
@pytest.mark.parametrize("double", [False, True], ids=["in_float", "in_double"])
def test_many_activations_at_once(emulated, cpu, double):
    # More than one table holds, of all types and layouts, some of known sign.
    dtypes = DTYPES if double else DTYPES[1:]
    activations, axes = [], []
    for i in range(90):
        activation, axis = list(LAYOUTS.values())[(0, 1, 6, 10, 11, 16)[i % 6]](
            dtypes[i % len(dtypes)]
        )
        activations.append(np.abs(activation) if i % 5 == 0 else activation)
        axes.append(axis)
    known = [i % 5 == 0 for i in range(90)]
    upstream = normal((90, 3), np.float64)
    arguments = (axes, LABELS, CLASSES, (True, False), upstream, known)
    values, gradients = emulated.objectives(activations, *arguments)
    expected_values, expected = cpu.objectives(activations, *arguments)
    np.testing.assert_allclose(values, expected_values, rtol=3e-6, atol=3e-6)
    for actual, wanted, activation in zip(gradients, expected, activations, strict=True):
        close(actual, wanted, max(TOLERANCES[activation.dtype], 2e-6))


@needs_cpu_core
@pytest.mark.parametrize("classes", [1, 2, 10, 255, 256, 257, 1000, 70_000])
@pytest.mark.parametrize("samples", [1, 31, 600])
def test_any_number_of_classes_and_samples(emulated, cpu, classes, samples):
    random = np.random.default_rng(classes)
    labels = random.integers(-1, classes + 1, samples)
    activation = normal((samples, 37))
    arguments = ([1], labels, classes, (False, True), [UPSTREAM])
    values, (gradient,) = emulated.objectives([activation], *arguments)
    expected_values, (expected,) = cpu.objectives([activation], *arguments)
    np.testing.assert_allclose(values, expected_values, rtol=2e-6, atol=2e-6)
    close(gradient, expected, 5e-6)


@pytest.mark.parametrize("labels", [[4] * 7, [-1] * 7, [2**31 - 1, -(2**31), -5, 9, 4, 5, 77]])
def test_batch_of_no_class_is_zero_with_no_gradient(emulated, labels):
    activation, axis = LAYOUTS["channels_last"](np.float32)
    values, (gradient,) = emulated.objectives(
        [activation], [axis], labels, CLASSES, upstream=[UPSTREAM]
    )
    assert not values.any()
    assert not gradient.any()


@pytest.mark.parametrize("labels", [[2] * 7, [0, 1, 2, 3, 4, 5, 6]])
@pytest.mark.parametrize("options", OPTIONS)
def test_one_class_and_classes_of_one_sample(emulated, labels, options):
    activation, axis = LAYOUTS["matrix"](np.float64)
    values, (gradient,) = emulated.objectives([activation], [axis], labels, 7, options, [UPSTREAM])
    np.testing.assert_allclose(
        values[0], oracle_of(activation, axis, options, labels, 7), rtol=1e-12, atol=1e-12
    )
    assert np.isfinite(gradient).all()


def test_no_sample(library):
    values = np.full(3, np.nan)
    row = structs([(0, 0, 0, 0, 5, 1, 5, (1, 1, 1), (0, 0, 0))])
    totals = np.full(5, np.nan, np.float32)
    operations = Runner(library).operations
    inputs, options = Inputs(row, 0, 0, 3), (False, True)
    saved = (0, 0, totals.ctypes.data)
    operations.objectives_forward(inputs, options, saved, values.ctypes.data)
    assert not values.any()
    assert not totals.any()
    operations.objectives_backward(inputs, options, saved, values.ctypes.data, 0, row)


@needs_cpu_core
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_zero_rows_have_no_direction(emulated, cpu, dtype):
    activation, axis = LAYOUTS["channels_last_vectors"](dtype)
    activation[[0, 3, 5]] = 0
    activation[:, 1, :, ::3] = 0
    arguments = ([axis], LABELS, CLASSES, (False, True), [UPSTREAM])
    values, (gradient,) = emulated.objectives([activation], *arguments)
    expected_values, (expected,) = cpu.objectives([activation], *arguments)
    np.testing.assert_allclose(values, expected_values, rtol=2e-6, atol=2e-6)
    close(gradient, expected, TOLERANCES[dtype])
    assert not gradient[[0, 3, 5]].any()


@needs_cpu_core
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layout", ["matrix", "matrix_vectors", "channels_last", "channels_first"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_is_not_finite_goes_where_it_does_on_the_cpu(library, cpu, layout, value, dtype):
    activation, axis = LAYOUTS[layout](dtype)
    activation[(0, *[1] * (activation.ndim - 1))] = value
    arguments = ([axis], LABELS, CLASSES, (False, True), [UPSTREAM])
    values, (gradient,) = Runner(library).objectives([activation], *arguments)
    expected_values, (expected,) = cpu.objectives([activation], *arguments)
    np.testing.assert_array_equal(np.isnan(values), np.isnan(expected_values))
    np.testing.assert_array_equal(np.isinf(values), np.isinf(expected_values))
    np.testing.assert_array_equal(
        np.isfinite(in_float64(gradient)), np.isfinite(in_float64(expected))
    )


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-40, 1e-20, 1e20, 1e37, 1e160, 1e300])
def test_scale_of_a_vector_changes_no_similarity(emulated, scale):
    dtype = np.float32 if 1e-45 < scale < 1e38 else np.float64
    activation, axis = LAYOUTS["matrix"](dtype)
    activation = np.clip(activation, -3, 3)
    values = emulated.objectives([activation * dtype(scale)], [axis], LABELS, CLASSES)
    expected = emulated.objectives([activation], [axis], LABELS, CLASSES)
    np.testing.assert_allclose(values[0, :2], expected[0, :2], rtol=1e-3)


def test_order_of_the_threads_changes_no_bit(library):
    results = []
    for descends in (False, True):
        library.emulation_descend(descends)
        runner = Runner(library)
        activations = [LAYOUTS[name](np.float32) for name in LAYOUTS]
        arrays, axes = zip(*activations, strict=True)
        values, gradients = runner.objectives(
            arrays, axes, LABELS, CLASSES, upstream=[UPSTREAM] * len(arrays)
        )
        results.append([values, *gradients])
    library.emulation_descend(False)
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_step_takes_few_launches(library):
    shapes = [(2, 4, 4, 64)] * 13 + [(2, 4096)] * 2
    before = library.emulation_launches()
    Runner(library).objectives(
        [normal(shape) for shape in shapes],
        [len(shape) - 1 for shape in shapes],
        [0, 1],
        2,
        upstream=[UPSTREAM] * len(shapes),
        known=[True] * len(shapes),
    )
    assert library.emulation_launches() - before <= 8


# ----------------------------------------------------------------------------- class statistics


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_class_statistics_are_those_of_loops(library, layout, dtype):
    activation, axis = LAYOUTS[layout](dtype)
    activation[2] = 0
    # Another activation before it: its columns must not move.
    activations, axes = [normal((7, 5), dtype), activation], [1, axis]
    sums, counts, nonzero, l1 = Runner(library).class_statistics(activations, axes, LABELS, CLASSES)
    weight = [float(label < CLASSES) for label in LABELS]
    tolerance = 1e-12 if dtype == np.float64 else 2e-6
    for a, own in enumerate((sums[:, :5], sums[:, 5:])):
        expected = oracles.class_statistics(
            in_float64(activations[a]), LABELS, CLASSES, sample_weight=weight, axis=axes[a]
        )
        actual = {"sums": own, "counts": counts, "nonzero": nonzero[:, a], "l1": l1[:, a]}
        for name, result in actual.items():
            np.testing.assert_allclose(result, expected[name], rtol=tolerance, atol=tolerance)


@needs_cpu_core
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("classes", [4, 1000])
def test_gradient_of_class_statistics(emulated, cpu, dtype, classes):
    names = ["channels_last", "matrix_vectors", "channels_first"]
    activations, axes = zip(*(LAYOUTS[name](dtype) for name in names), strict=True)
    labels = [0, 1, 0, 3, 1, classes, 0]
    upstream = normal((classes, 19 + 48 + 9), np.float64), normal((classes, 3), np.float64)
    _, gradients = emulated.class_statistics(activations, axes, labels, classes, upstream)
    exact = [in_float64(activation) for activation in activations]
    _, expected = cpu.class_statistics(exact, axes, labels, classes, upstream)
    for actual, wanted in zip(gradients, expected, strict=True):
        close(actual, wanted, TOLERANCES[dtype])


# ----------------------------------------------------------------------------------- frequency


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_frequency_is_that_of_loops(library, layout, dtype):
    activation, axis = LAYOUTS[layout](dtype)
    sparse = np.where(np.abs(in_float64(activation)) > 1.2, activation, 0).astype(dtype)
    by_unit = np.moveaxis(in_float64(sparse), axis, 1).reshape(7, sparse.shape[axis], -1)
    for epsilon in (0.0, 1.5):
        expected = np.zeros((CLASSES, by_unit.shape[1]), int)
        for sample, label in zip(by_unit, LABELS, strict=True):
            if label < CLASSES:
                expected[label] += (np.abs(sample) > epsilon).any(axis=-1)
        (counts,), not_finite = Runner(library).activation_frequency(
            [sparse], [axis], LABELS, CLASSES, [epsilon]
        )
        np.testing.assert_array_equal(counts, expected)
        assert not_finite.tolist() == [0]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_epsilon_is_compared_exactly(emulated, dtype):
    one = np.ones((1, 1), dtype)
    above = np.nextafter(1.0, 2.0)
    for epsilon, active in [(1.0, 0), (np.nextafter(1.0, 0.0), 1), (above, 0)]:
        (counts,), _ = emulated.activation_frequency([one], [1], [0], 1, [epsilon])
        assert counts[0, 0] == active


@needs_cpu_core
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_frequency_counts_units_that_are_not_finite(emulated, cpu, dtype, value):
    activations = [LAYOUTS[name](dtype)[0] for name in ("channels_last", "channels_first_long")]
    activations[1][2, 1, 1, 3] = value
    activations[1][5, 2, 79, 70] = value  # of no class
    arguments = (activations, [3, 1], LABELS, CLASSES, [0.0, 0.0])
    counts, not_finite = emulated.activation_frequency(*arguments)
    expected, _ = cpu.activation_frequency(*arguments)
    assert not_finite.tolist() == [0, 2]
    for actual, wanted in zip(counts, expected, strict=True):
        np.testing.assert_array_equal(actual, wanted)


# -------------------------------------------------------------------------------- bad arguments


def test_bad_arguments_are_refused(library):
    runner = Runner(library)
    activation = normal((3, 5))
    position = ((1, 1, 1), (0, 0, 0))
    described = structs([(activation.ctypes.data, 0, 0, 3, 5, 1, 5, *position)])
    results = np.zeros(64)
    address = results.ctypes.data
    labels = np.zeros(3, np.int32)

    def call(field=None, value=0, samples=3, classes=2, where=address, names=labels.ctypes.data):
        activations = described.copy()
        if field is not None:
            activations[field] = value
        inputs = Inputs(activations, names, samples, classes)
        saved = (address, address, where)
        runner.operations.objectives_forward(inputs, (False, True), saved, address)

    call()
    for field, value in [
        ("data", 0),
        ("dtype", 4),
        ("dtype", -1),
        ("samples", 2),
        ("samples", 4),
        ("units", 0),
        ("units", -5),
        ("units", 2**31),
        ("positions", (0, 1, 1)),
        ("positions", (1, -1, 1)),
        ("positions", (1, 1, 2**40)),
    ]:
        with pytest.raises(ValueError, match="Expected arrays that are present"):
            call(field, value)
    for arguments in [
        {"samples": -1},
        {"samples": 2**31},
        {"classes": 0},
        {"classes": -3},
        {"where": 0},
        {"names": 0},
    ]:
        with pytest.raises(ValueError, match="Expected arrays that are present"):
            call(**arguments)


def test_null_is_refused(library):
    invalid = 1
    assert library.moda_cuda_workspace_bytes(0, None, 1, None) == -1
    assert library.moda_cuda_objectives_forward(*[None, 1, *[None] * 6]) == invalid
    assert library.moda_cuda_objectives_backward(*[None, 1, *[None] * 8]) == invalid
    assert library.moda_cuda_class_statistics_forward(*[None, 1, *[None] * 8]) == invalid
    assert library.moda_cuda_class_statistics_backward(*[None, 1, *[None] * 7]) == invalid
    assert library.moda_cuda_activation_frequency(*[None, 1, *[None] * 6]) == invalid


def test_workspace_must_be_aligned(library):
    class Off:
        def __init__(self, size):
            self.memory = np.zeros(size + 512, np.uint8)

        def data_ptr(self):
            return self.memory.ctypes.data // 256 * 256 + 264

    runner = Runner(library)
    runner.operations = CudaOperations(library, 0, Off)
    with pytest.raises(ValueError, match="Expected arrays that are present"):
        runner.objectives([normal((7, 5))], [1], LABELS, CLASSES)


# ---------------------------------------------------------------------------- PyTorch's operators


@pytest.fixture
def operators(library, monkeypatch):
    """PyTorch's operators, with the emulated library in the place of the CPU core."""
    from moda_keras.ops.native import torch_operators

    @contextmanager
    def operations(device):
        yield CudaOperations(library, 0, Memory)

    monkeypatch.setattr(torch_operators, "operations_on", operations)
    return torch_operators


def leaf(name, sign=False):
    import torch

    activation, axis = LAYOUTS[name](np.float64)
    tensor = torch.from_numpy(np.abs(activation) if sign else activation)
    return tensor.requires_grad_(), axis


def test_objectives_operator_has_the_right_gradient(operators):
    import torch

    activations, axes = zip(*[leaf("matrix"), leaf("every_second_position", True)], strict=True)
    labels = torch.tensor(LABELS, dtype=torch.int32)

    def of(*tensors):
        arguments = (labels, CLASSES, axes, [False, True], False, True)
        return operators.objectives(tensors, *arguments)[0]

    assert torch.autograd.gradcheck(of, activations, eps=1e-6, atol=1e-7)


def test_statistics_operator_has_the_right_gradient(operators):
    import torch

    activation, axis = leaf("every_second_position")
    labels = torch.tensor(LABELS, dtype=torch.int32)

    def of(tensor):
        results = operators.class_statistics([tensor], labels, CLASSES, [axis], [False])
        return results[0], results[3]

    assert torch.autograd.gradcheck(of, (activation,), eps=1e-6, atol=1e-7)


def test_frequency_operator_counts(operators):
    import torch

    activations = [torch.eye(3), torch.tensor([[0.0], [torch.inf], [2.0]])]
    labels = torch.tensor([0, 1, 1], dtype=torch.int32)
    counts, not_finite = operators.activation_frequency(activations, labels, 2, [1, 1], [0.5, 2.0])
    assert counts[0].tolist() == [[1, 0, 0], [0, 1, 1]]
    assert counts[1].tolist() == [[0], [1]]
    assert not_finite.tolist() == [0, 1]
