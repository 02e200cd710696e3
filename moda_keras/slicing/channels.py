"""Which of the original channels a tensor of a sliced model holds."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Channels:
    """The channels of an original tensor: the kept ones, and the constants of the others.

    Attributes:
        kept: Int array, the original indices of the kept channels, in order.
        const: Float64 array `(channels,)`, the exact value of every channel that is read but not
            kept. The other entries are meaningless.
        idle: Bool array `(channels,)` or None for none: kept channels with arbitrary values; the
            values they represent are in `const`. Only rules with `reads_idle` receive any.
    """

    kept: np.ndarray
    const: np.ndarray
    idle: np.ndarray | None = None

    @classmethod
    def full(cls, size: int) -> "Channels":
        """All of `size` channels."""
        return cls(np.arange(size), np.zeros(size))

    @property
    def size(self) -> int:
        """Number of channels of the original tensor."""
        return len(self.const)

    @property
    def is_kept(self) -> np.ndarray:
        """Bool array `(channels,)`: which channels are kept with their values."""
        mask = mask_of(self.kept, self.size)
        return mask if self.idle is None else mask & ~self.idle

    @property
    def dropped_const(self) -> np.ndarray:
        """Float64 array `(channels,)`: the constants of dropped channels, zero for kept ones."""
        return np.where(self.is_kept, 0.0, self.const)

    def exactly(self, indices: np.ndarray) -> "Channels":
        """The channels `indices`, in that order; constants among them are made explicit."""
        return Channels(np.asarray(indices), self.const)

    def only(self, wanted: np.ndarray) -> "Channels":
        """The kept channels that are also in `wanted`.

        Returns at least one channel, because a tensor cannot be empty: without a common channel,
        one constant is made explicit; if `wanted` is empty, one kept channel stays.
        """
        kept = self.kept[mask_of(wanted, self.size)[self.kept]]
        if len(kept):
            return Channels(kept, self.const, self.idle)
        return self.exactly(wanted[:1] if len(wanted) else self.kept[:1])

    def explicit(self, indices: np.ndarray) -> "Channels":
        """The kept channels and, as channels of their own, the constants in `indices`."""
        missing = indices[~self.is_kept[indices]]
        if not len(missing):
            return self
        idle = None if self.idle is None else self.idle & ~mask_of(missing, self.size)
        return Channels(np.union1d(self.kept, missing), self.const, idle)

    def masked(self, mask: np.ndarray) -> "Channels":
        """The channels with those outside `mask`, a bool array `(channels,)`, become zero."""
        idle = ~mask if self.idle is None else self.idle | ~mask
        return Channels(self.kept, np.where(mask, self.const, 0.0), idle)

    def without_idle(self) -> "Channels":
        """The channels that hold their values; the first channel if none does."""
        if self.idle is None:
            return self
        kept = self.kept[~self.idle[self.kept]]
        return self.exactly(kept if len(kept) else np.zeros(1, dtype=int))


def mask_of(indices: np.ndarray, size: int) -> np.ndarray:
    """Bool array `(size,)` that is true at `indices`."""
    mask = np.zeros(size, dtype=bool)
    mask[indices] = True
    return mask
