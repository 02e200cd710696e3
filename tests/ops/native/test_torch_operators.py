import inspect
import os
import subprocess
import sys
from contextlib import nullcontext

import keras
import numpy as np
import oracles
import pytest

from moda_keras.ops.native import choice, libraries

if keras.backend.backend() != "torch":
    pytest.skip("PyTorch's operators", allow_module_level=True)
if libraries.cpu() is None:
    pytest.skip("the library was not built", allow_module_level=True)

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import moda_keras as mk
from moda_keras.ops import JointStatistics, joint_statistics, observations
from moda_keras.ops.native import torch_operators, torch_tensors
from moda_keras.ops.native.operations import Operations

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
    monkeypatch.setattr(choice, "mode", lambda: "1")


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
    return torch_operators.objectives(activations, labels, CLASSES, axes, known, *options)[0]


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
    reference = reference_objectives([exact], [axis])
    (expected,) = torch.autograd.grad((reference * upstream).sum(), exact)
    scale = float(expected.abs().max())
    np.testing.assert_allclose(
        to_float64(gradient), expected, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype] * scale
    )


def reference_objectives(activations, axes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "mode", lambda: "0")
        observed = observations(activations, LABELS, axes)
        return mk.MODALoss()._table(joint_statistics(observed, LABELS, CLASSES))


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
        axes, known = [axis, 1], [False, False]
        results = torch_operators.class_statistics([x, x[:, 0, 0]], LABELS, CLASSES, axes, known)
        return results[0], results[3]

    assert torch.autograd.gradcheck(of, (activation,), eps=1e-6, atol=1e-7)


def test_class_statistics_of_many_activations_are_those_of_the_reference():
    drawn = [draw(layout, torch.float64) for layout in LAYOUTS]
    observed = observations([a for a, _ in drawn], LABELS, [axis for _, axis in drawn])
    actual = joint_statistics(observed, LABELS, CLASSES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "mode", lambda: "0")
        expected = joint_statistics(observed, LABELS, CLASSES)
    assert isinstance(actual, JointStatistics)
    assert actual.units == expected.units
    for one, other in zip(actual[:4], expected[:4], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("known", [False, True])
def test_second_derivative_is_refused_in_words(known):
    activation, axis = draw("channels_last")
    leaf = activation.abs().requires_grad_()
    values = compute([leaf], [axis], [known], (False, True))
    (gradient,) = torch.autograd.grad(values.sum(), leaf, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"no second derivative. Set MODA_KERAS_NATIVE=0"):
        gradient.sum().backward()


def test_reference_has_a_second_derivative():
    activation, axis = draw("matrix", torch.float64)
    leaf = activation[:, :3].abs().requires_grad_()

    def of(x):
        return reference_objectives([x], [axis])

    assert torch.autograd.gradgradcheck(of, (leaf,), atol=1e-6)


BAD_INPUTS = {
    "more labels than samples": ({"labels": torch.zeros(32, dtype=torch.int32)}, "one label for"),
    "fewer labels than samples": ({"labels": torch.zeros(3, dtype=torch.int32)}, "one label for"),
    "int64 labels": ({"labels": LABELS.long()}, "int32 labels"),
    "labels of two axes": ({"labels": LABELS[:, None]}, "shape \\(batch,\\)"),
    "axis of the samples": ({"axes": [0]}, "axis=0"),
    "axis out of range": ({"axes": [2]}, "axis=2"),
    "no axis": ({"axes": []}, "an axis and an option"),
    "integers": ({"activations": [torch.zeros(7, 3, dtype=torch.int32)]}, "float activations"),
    "nothing": ({"activations": [], "axes": []}, "at least one activation"),
}


@pytest.mark.parametrize("is_fake", [False, True], ids=["run", "traced"])
@pytest.mark.parametrize("case", BAD_INPUTS)
@pytest.mark.parametrize("name", ["objectives", "class_statistics", "activation_frequency"])
def test_operators_check_shapes_and_dtypes(name, case, is_fake):
    changes, message = BAD_INPUTS[case]
    inputs = {"activations": [torch.zeros(7, 3)], "labels": LABELS, "axes": [1], **changes}
    options = [0.0] if name == "activation_frequency" else [False]
    options *= len(inputs["activations"])
    last = (False, True) if name == "objectives" else ()
    # The dispatcher finds no device where there is no activation to look at.
    error = (RuntimeError, TypeError)
    with FakeTensorMode(allow_non_fake_inputs=True) if is_fake else nullcontext():
        arguments = (inputs["activations"], inputs["labels"], CLASSES, inputs["axes"], options)
        with pytest.raises(error, match=message):
            getattr(torch_operators, name)(*arguments, *last)


def test_core_refuses_labels_that_are_too_many_or_out_of_range():
    activation = torch.zeros(7, 3)
    labels = torch.full((32,), 9, dtype=torch.int32)

    def count(samples, classes):
        inputs = torch_tensors.inputs_of([activation], labels, classes, [1], [False])
        counts = torch.zeros(classes, 3, dtype=torch.int32)
        not_finite = torch.zeros(1, dtype=torch.int32)
        Operations(libraries.cpu()).activation_frequency(
            inputs._replace(samples=samples), [0.0], [counts.data_ptr()], not_finite.data_ptr()
        )

    with pytest.raises(ValueError, match="as many samples in each as labels"):
        count(32, 10)
    with pytest.raises(ValueError, match="labels from -1"):
        count(7, 4)


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
        "class_statistics": (leaves, LABELS, CLASSES, axes, known),
        "activation_frequency": (activations, LABELS, CLASSES, axes, [0.0] * len(axes)),
    }
    torch.library.opcheck(getattr(torch_operators, name), arguments[name])


@pytest.mark.skipif(torch.__version__.startswith("2.6."), reason="it compiles no named tuples")
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
        (counts,), not_finite = torch_operators.activation_frequency(
            [sparse], LABELS, CLASSES, [axis], [epsilon]
        )
        assert not_finite.tolist() == [0]
        np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_frequency_counts_units_that_are_not_finite(dtype, value):
    activations = [draw("channels_last", dtype)[0], draw("channels_first", dtype)[0].clone()]
    activations[1][2, 4, 1, 3] = value
    _, not_finite = torch_operators.activation_frequency(
        activations, LABELS, CLASSES, [3, 1], [0.0, 0.0]
    )
    assert not_finite.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_infinity_is_active_and_nan_is_not(dtype):
    activation = torch.tensor([[float("inf"), float("nan"), -float("inf"), 0.0]], dtype=dtype)
    labels = torch.zeros(1, dtype=torch.int32)
    (counts,), not_finite = torch_operators.activation_frequency([activation], labels, 1, [1], [1])
    assert counts.tolist() == [[1, 0, 1, 0]] and not_finite.tolist() == [3]


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("epsilon", [0.1, 0.3, 0.7, 1e-3])
def test_epsilon_is_not_rounded_to_the_type_of_the_activations(dtype, epsilon):
    below, above = (epsilon * factor for factor in (0.98, 1.02))
    activation = torch.tensor([[below, epsilon, above]], dtype=dtype)
    labels = torch.zeros(1, dtype=torch.int32)
    (counts,), _ = torch_operators.activation_frequency([activation], labels, 1, [1], [epsilon])
    assert counts.tolist() == [[int(value > epsilon) for value in activation[0].tolist()]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_and_written_exactly(dtype):
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    every = bits.view(dtype)
    finite = every[torch.isfinite(every)]
    # One unit, one position: its magnitude is its compactness.
    statistics = torch_operators.class_statistics(
        [finite[:, None]], torch.arange(len(finite), dtype=torch.int32), len(finite), [1], [False]
    )
    np.testing.assert_array_equal(statistics[3][:, 0], finite.float().abs())

    # The gradient of the L1 norm is the sign times the upstream value, rounded to the type.
    upstream = torch.cat([finite.float(), torch.tensor([65519.9, 65520.1, 1e-8, 3e-8, 1.0005])])
    leaf = torch.ones(len(upstream), 1, dtype=dtype).requires_grad_()
    labels = torch.arange(len(upstream), dtype=torch.int32)
    l1 = torch_operators.class_statistics([leaf], labels, len(upstream), [1], [False])[3]
    (gradient,) = torch.autograd.grad(l1[:, 0], leaf, upstream)
    np.testing.assert_array_equal(gradient[:, 0].float(), upstream.to(dtype).float())


def test_results_do_not_depend_on_the_number_of_threads():
    # More than a megabyte, or it would be serial.
    activations = [torch.randn(32, 16, 16, 96).abs(), torch.randn(32, 2048)]
    labels = torch.arange(32, dtype=torch.int32) % CLASSES
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            leaves = [a.detach().requires_grad_() for a in activations]
            values = compute(leaves, [3, 1], [True, False], (False, True), labels)
            results.append([values, *torch.autograd.grad(values.sum(), leaves)])
            assert libraries.cpu().moda_threads() == threads
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for first, second in zip(results[0], other, strict=True):
            assert torch.equal(first, second)


# More than a megabyte, or one thread would do it all.
USES_THE_POOL = """
import os, sys, threading, torch
from moda_keras.ops.native import libraries, torch_operators
x = torch.ones(64, 16, 16, 64)
labels = torch.zeros(64, dtype=torch.int32)

def use():
    return torch_operators.objectives([x], labels, 4, [3], [False], False, True)[0].tolist()

def threads():
    return len(os.listdir("/proc/self/task"))
"""
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="no /proc here")


def run(code):
    result = subprocess.run(
        [sys.executable, "-c", USES_THE_POOL + code],
        env={**os.environ, "OMP_NUM_THREADS": "3"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@needs_proc
def test_pool_changes_its_threads_with_pytorch_and_leaves_none_behind():
    output = run("""
torch.set_num_threads(1); use(); alone = threads()
for count in (4, 2, 3):
    torch.set_num_threads(count); use()
print(threads() - alone)
""")
    assert output == "2\n"


@needs_proc
def test_pool_works_after_a_fork_in_parent_and_child():
    output = run("""
expected = use()
for _ in range(3):
    child = os.fork()
    if not child:
        assert threads() == 1
        assert use() == expected
        grandchild = os.fork()
        if not grandchild:
            os._exit(use() != expected)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert use() == expected
print("done")
""")
    assert output == "done\n"


def test_process_exits_with_the_pool_alive():
    output = run("""
use()
print("done", flush=True)
""")
    assert output == "done\n"


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [(torch.float32, s) for s in (1e-40, 1e-20, 1e20, 1e37)]
    + [(torch.float64, s) for s in (1e-300, 1e-200, 1e200, 1e300)],
)
def test_scale_of_a_vector_changes_no_similarity(dtype, scale):
    activation, axis = draw("matrix", dtype)
    values = compute([activation * scale], [axis], [False], (False, True))
    expected = compute([activation], [axis], [False], (False, True))
    np.testing.assert_allclose(values[0, :2], expected[0, :2], rtol=1e-3)
    upstream = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64)
    assert torch.isfinite(gradient_of(activation * scale, axis, upstream, False)).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_reach_the_objectives_and_the_gradient(value):
    activation, axis = draw("matrix")
    activation[0, 0] = value
    values = compute([activation], [axis], [False], (False, True))
    assert torch.isnan(values[0, :2]).all()
    assert not torch.isfinite(values[0, 2])
    gradient = gradient_of(activation, axis, torch.ones(1, 3, dtype=torch.float64), False)
    assert torch.isnan(gradient[0]).all()


def test_signatures_have_types_that_pytorch_2_6_knows():
    operators = [
        each
        for each in vars(torch_operators).values()
        if isinstance(each, torch.library.CustomOpDef)
    ]
    assert len(operators) == 5
    for operator in operators:
        types = str(inspect.signature(operator._init_fn))
        assert "collections.abc" not in types and "list[" not in types
