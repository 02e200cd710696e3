"""Activations that the core takes in parts: positions in blocks of 256, units in slices of 512."""

from itertools import combinations

import keras
import numpy as np
import pytest

from moda_keras.ops.native import choice, libraries

if keras.backend.backend() != "torch":
    pytest.skip("PyTorch's operators", allow_module_level=True)
if libraries.cpu() is None:
    pytest.skip("the library was not built", allow_module_level=True)

import torch

from moda_keras.ops.native import torch_operators

LABELS = [0, 0, 1, 1, 1, 2]
CLASSES = 3
# How the values lie in memory, and the axis of the units.
LAYOUTS = {
    "matrix": (lambda draw: draw(1101), 1),
    "channels_last": (lambda draw: draw(701, 5), 2),
    "channels_first": (lambda draw: draw(5, 701), 1),
    "every_second_unit": (lambda draw: draw(701, 10)[:, :, ::2], 2),
}


@pytest.fixture(autouse=True)
def native_only(monkeypatch):
    monkeypatch.setattr(choice, "mode", lambda: "1")


def drawn(layout):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(len(LABELS), *shape, generator=generator) ** 3

    make, axis = LAYOUTS[layout]
    return make(draw), axis


def objectives_by_pairs(activation, axis):
    """Affinity, dispersion and compactness, each averaged over classes."""
    vectors = (
        activation.abs().movedim(axis, 1).reshape(len(LABELS), activation.shape[axis], -1).mean(2)
    )
    members = [[i for i, label in enumerate(LABELS) if label == c] for c in range(CLASSES)]

    def mean_cosine(pairs):
        cosine = torch.nn.functional.cosine_similarity
        return torch.stack([cosine(vectors[i], vectors[j], dim=0) for i, j in pairs]).mean()

    same = [mean_cosine(list(combinations(own, 2))) for own in members if len(own) > 1]
    different = [
        mean_cosine([(i, j) for i in one for j in other]) for one, other in combinations(members, 2)
    ]
    lengths = [torch.stack([vectors[i].mean() for i in own]).mean() for own in members]
    return [1 - torch.stack(same).mean(), *(torch.stack(x).mean() for x in (different, lengths))]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_objectives_and_gradient_are_those_of_pairs(layout):
    activation, axis = drawn(layout)
    leaf, exact = activation.detach().requires_grad_(), activation.double().requires_grad_()
    weights = torch.tensor([0.7, 1.3, 0.4], dtype=torch.float64)

    labels = torch.tensor(LABELS, dtype=torch.int32)
    values = torch_operators.objectives([leaf], labels, CLASSES, [axis], [False], False, True)[0]
    expected = torch.stack(objectives_by_pairs(exact, axis))

    np.testing.assert_allclose(values[0].detach(), expected.detach(), rtol=1e-5, atol=2e-6)
    (gradient,) = torch.autograd.grad((values[0] * weights).sum(), leaf)
    (of_pairs,) = torch.autograd.grad((expected * weights).sum(), exact)
    tolerance = 1e-5 * float(of_pairs.abs().max())
    np.testing.assert_allclose(gradient, of_pairs, rtol=1e-4, atol=tolerance)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_active_position_of_each_unit_is_counted(layout):
    activation, axis = drawn(layout)
    activation[activation < 27] = 0.0  # in place, or the layout might change
    active = (
        (activation != 0).movedim(axis, 1).reshape(len(LABELS), activation.shape[axis], -1).any(2)
    )
    expected = np.zeros((CLASSES, active.shape[1]), int)
    for row, label in zip(active, LABELS, strict=True):
        expected[label] += row.numpy()

    (counts,), _ = torch_operators.activation_frequency(
        [activation], torch.tensor(LABELS, dtype=torch.int32), CLASSES, [axis], [0.0]
    )

    assert 0 < active.float().mean() < 1
    np.testing.assert_array_equal(counts, expected)


def test_units_that_are_not_finite_add_up_over_tasks():
    # A task takes samples of 256 KiB; these are three.
    activation = torch.zeros(40, 4500)
    activation[0, 7] = activation[20, 7] = activation[39, 7] = float("nan")
    labels = torch.zeros(40, dtype=torch.int32)
    _, not_finite = torch_operators.activation_frequency([activation], labels, 1, [1], [0.0])
    assert not_finite.tolist() == [3]
