"""The loss of MODA over class sums in Triton: a short rival of the CUDA core, for `gpu.py`.

Four kernels: means over positions (one launch for each map), norms, class sums, gradients of the
activation vectors. The objectives of the class sums, which are small, are PyTorch with autograd.
It is for maps whose units are last and known not to be negative. `TRITON_INTERPRET=1` runs it on a
CPU.
"""

import functools
from collections.abc import Sequence

import torch
import triton
import triton.language as tl

import moda_keras as mk

POSITIONS, UNITS, VECTOR = 64, 64, 1024


@triton.jit
def position_sums(
    maps, vectors, positions, units, stride, start, POSITIONS: tl.constexpr, UNITS: tl.constexpr
):
    """Adds a block of positions of one sample's map (positions, units) to its vector of means."""
    sample = tl.program_id(0).to(tl.int64)
    row = tl.program_id(1) * POSITIONS + tl.arange(0, POSITIONS)[:, None]
    unit = tl.program_id(2) * UNITS + tl.arange(0, UNITS)[None, :]
    is_inside = (row < positions) & (unit < units)
    place = sample * positions * units + row * units + unit
    values = tl.load(maps + place, mask=is_inside, other=0).to(tl.float32)
    unit = tl.program_id(2) * UNITS + tl.arange(0, UNITS)
    total = tl.sum(values, axis=0) / positions
    tl.atomic_add(vectors + sample * stride + start + unit, total, mask=unit < units)


@triton.jit
def norms(vectors, starts, inverse, l1, stride, activations, VECTOR: tl.constexpr):
    """One over the Euclidean norm of one vector, 0 if it is all zero, and its L1 norm."""
    sample, activation = tl.program_id(0), tl.program_id(1)
    start, end = tl.load(starts + activation), tl.load(starts + activation + 1)
    squares = tl.zeros((VECTOR,), tl.float32)
    sums = tl.zeros((VECTOR,), tl.float32)
    for first in range(start, end, VECTOR):
        unit = first + tl.arange(0, VECTOR)
        values = tl.load(vectors + sample * stride + unit, mask=unit < end, other=0)
        squares += values * values
        sums += values
    square = tl.sum(squares, axis=0)
    place = sample * activations + activation
    tl.store(inverse + place, tl.where(square > 0, 1 / tl.sqrt(tl.where(square > 0, square, 1)), 0))
    tl.store(l1 + place, tl.sum(sums, axis=0))


@triton.jit
def class_sums(
    vectors, inverse, labels, owners, sums, samples, stride, classes, activations,
    CLASSES: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """The sums of the normalised vectors of each class, for a block of units of all activations."""
    unit = tl.program_id(0) * UNITS + tl.arange(0, UNITS)
    each = tl.arange(0, CLASSES)
    owner = tl.load(owners + unit, mask=unit < stride, other=0)
    total = tl.zeros((CLASSES, UNITS), tl.float32)
    for sample in range(samples):
        values = tl.load(vectors + sample * stride + unit, mask=unit < stride, other=0)
        values *= tl.load(inverse + sample * activations + owner)
        is_of = each == tl.load(labels + sample)
        total += tl.where(is_of[:, None], values[None, :], 0.0)
    place = each[:, None] * stride + unit[None, :]
    is_inside = (each[:, None] < classes) & (unit[None, :] < stride)
    tl.store(sums + place, total, mask=is_inside)


@triton.jit
def vector_gradients(
    vectors, starts, inverse, labels, of_sums, of_l1, positions, gradients, stride, classes,
    activations, VECTOR: tl.constexpr,
):  # fmt: skip
    """The gradient of each element of the maps of one sample's vector, from that of class sums."""
    sample, activation = tl.program_id(0), tl.program_id(1)
    start, end = tl.load(starts + activation), tl.load(starts + activation + 1)
    label = tl.load(labels + sample)
    has_class = (label >= 0) & (label < classes)
    row = tl.where(has_class, label, 0)
    scale = tl.load(inverse + sample * activations + activation)
    count = tl.load(positions + activation)
    products = tl.zeros((VECTOR,), tl.float32)
    for first in range(start, end, VECTOR):
        unit = first + tl.arange(0, VECTOR)
        values = tl.load(vectors + sample * stride + unit, mask=unit < end, other=0) * scale
        products += values * tl.load(of_sums + row * stride + unit, mask=unit < end, other=0)
    product = tl.sum(products, axis=0)
    constant = tl.load(of_l1 + row * activations + activation)
    for first in range(start, end, VECTOR):
        unit = first + tl.arange(0, VECTOR)
        values = tl.load(vectors + sample * stride + unit, mask=unit < end, other=0)
        direction = tl.load(of_sums + row * stride + unit, mask=unit < end, other=0)
        result = (direction - values * scale * product) * scale + constant
        result = tl.where(has_class, result / count, 0.0)
        tl.store(gradients + sample * stride + unit, result, mask=unit < end)


class Layout:
    """Where the units of each activation are in the joint vectors (B, U)."""

    def __init__(self, shapes: Sequence[tuple[int, ...]], device):
        self.units = tuple(shape[-1] for shape in shapes)
        self.positions = [max(1, functools.reduce(int.__mul__, shape[:-1], 1)) for shape in shapes]
        ends = torch.tensor((0, *self.units)).cumsum(0)
        self.offsets = ends.tolist()
        self.starts = ends.to(device, torch.int32)
        owners = torch.arange(len(shapes)).repeat_interleave(torch.tensor(self.units))
        self.owners = owners.to(device, torch.int32)
        self.sizes = torch.tensor(self.units, dtype=torch.float32, device=device)
        self.member = torch.eye(len(shapes), device=device)[self.owners.long()]
        self.counts = torch.tensor(self.positions, dtype=torch.float32, device=device)


layout_of = functools.lru_cache(Layout)


def loss_and_gradients(activations: list[torch.Tensor], labels: torch.Tensor, classes: int) -> list:
    """MODALoss with its default weights, and its gradients.

    Args:
        activations: List of contiguous tensors (B, ..., D) without negative elements.
        labels: int32 tensor (B,).
        classes: C.

    Returns:
        List of the value and the gradient for each activation, broadcast over positions.
    """
    layout = layout_of(tuple(tuple(a.shape[1:]) for a in activations), labels.device)
    vectors = vectors_of(activations, layout)
    samples, stride = vectors.shape
    count = len(activations)
    inverse, l1 = vectors.new_empty(samples, count), vectors.new_empty(samples, count)
    each = (samples, count)
    norms[each](vectors, layout.starts, inverse, l1, stride, count, VECTOR)
    sums = vectors.new_empty(classes, stride)
    class_sums[(triton.cdiv(stride, UNITS),)](
        vectors, inverse, labels, layout.owners, sums, samples, stride, classes, count,
        CLASSES=max(2, triton.next_power_of_2(classes)), UNITS=UNITS,
    )  # fmt: skip
    value, of_sums, of_l1 = small_part(sums, inverse, l1, labels, classes, layout)
    gradients = torch.empty_like(vectors)
    vector_gradients[each](
        vectors, layout.starts, inverse, labels, of_sums, of_l1, layout.counts, gradients, stride,
        classes, count, VECTOR,
    )  # fmt: skip
    parts = zip(activations, gradients.split(layout.units, dim=1), strict=True)
    return [
        value,
        *(part.view(samples, *[1] * (a.dim() - 2), -1).expand(a.shape) for a, part in parts),
    ]


def vectors_of(activations: list[torch.Tensor], layout: Layout) -> torch.Tensor:
    """The joint activation vectors, float32 (B, U)."""
    samples, stride = activations[0].shape[0], layout.offsets[-1]
    device = activations[0].device
    vectors = torch.zeros(samples, stride, dtype=torch.float32, device=device)
    for a, positions, start in zip(activations, layout.positions, layout.offsets, strict=False):
        units = a.shape[-1]
        grid = (samples, triton.cdiv(positions, POSITIONS), triton.cdiv(units, UNITS))
        position_sums[grid](a, vectors, positions, units, stride, start, POSITIONS, UNITS)
    return vectors


def small_part(sums, inverse, l1, labels, classes: int, layout: Layout) -> tuple:
    """The loss, and its gradients for class sums (C, U) and for sums of L1 norms (C, A).

    Nothing is copied from the host, which a CUDA graph forbids.
    """
    is_of = (labels[None, :] == torch.arange(classes, device=labels.device)[:, None]).float()
    counts, nonzero = is_of.sum(1), is_of @ (inverse > 0).float()
    sums, l1_sums = sums.requires_grad_(), (is_of @ l1).requires_grad_()
    squares = sums.square() @ layout.member
    pairs = counts * (counts - 1) / 2
    of_class = (pairs > 0) / pairs.clamp(min=1) / (pairs > 0).sum().clamp(min=1)
    affinity = (pairs > 0).any().float() - of_class @ (squares - nonzero) / 2
    present = (counts > 0).float()
    shares = present / counts.clamp(min=1)
    between = ((shares @ sums).square() @ layout.member - shares.square() @ squares) / 2
    class_pairs = present.sum() * (present.sum() - 1) / 2
    dispersion = between / class_pairs.clamp(min=1)
    compactness = shares @ l1_sums / present.sum().clamp(min=1) / layout.sizes
    loss = mk.MODALoss()
    values = loss.alpha * affinity + loss.beta * dispersion + loss.gamma * compactness
    gradients = torch.autograd.grad(values.mean(), [sums, l1_sums])
    return values.mean().detach(), *(gradient.contiguous() for gradient in gradients)
