"""Sets of sub-tasks that share computation because a sample does not yet distinguish them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class UnitGroups:
    """The units of one hidden activation, grouped by the sub-tasks that have them.

    Attributes:
        unions: Bool array (subtasks, units): the units of each sub-task.
    """

    unions: np.ndarray

    @cached_property
    def membership(self) -> np.ndarray:
        """Bool array (subtasks, groups). Units of all sub-tasks, or of none, are in no group."""
        return self._grouped[0]

    @cached_property
    def packed(self) -> np.ndarray:
        """`membership` as bits, uint8 (subtasks, bytes)."""
        return np.packbits(self.membership, axis=1)

    def active(self, is_active: np.ndarray) -> np.ndarray:
        """Which groups have an active unit, as bits.

        Args:
            is_active: Bool array (rows, units).

        Returns:
            Uint8 array (rows, bytes).
        """
        return np.packbits(is_active @ self._grouped[1], axis=1)

    @cached_property
    def _grouped(self) -> tuple[np.ndarray, np.ndarray]:
        differs = self.unions.any(axis=0) & ~self.unions.all(axis=0)
        units = np.flatnonzero(differs)
        columns, group = np.unique(self.unions[:, units], axis=1, return_inverse=True)
        one_hot = np.zeros((self.unions.shape[1], columns.shape[1]), bool)
        one_hot[units, group.reshape(-1)] = True
        return columns, one_hot


class SubtaskBlocks:
    """Splits sets of sub-tasks ("blocks") once they differ for a sample.

    Two sub-tasks have the same effect on a sample at a hidden activation if their unions agree on
    the units that are active there. Blocks are numbered; equal blocks have the same number.

    Args:
        unions: Per hidden activation a bool array (subtasks, units).
    """

    def __init__(self, unions: list[np.ndarray]):
        self.groups = [UnitGroups(each) for each in unions]
        self.members: list[np.ndarray] = []
        self._numbers: dict[bytes, int] = {}
        self._varying: dict[tuple[int, int], np.ndarray] = {}
        self._splits: dict[tuple[int, int, bytes], np.ndarray] = {}

    def add(self, members: np.ndarray) -> int:
        """Adds a block if it is new.

        Args:
            members: Int array of ascending sub-task indices, at least one.

        Returns:
            Int, the number of the block.
        """
        members = members.astype("int32")
        number = self._numbers.setdefault(members.tobytes(), len(self.members))
        if number == len(self.members):
            self.members.append(members)
        return number

    def first(self, blocks: np.ndarray) -> np.ndarray:
        """The first member of each block, which represents it: int array of the same shape."""
        return np.array([self.members[block][0] for block in blocks], "int64")

    def split(
        self, level: int, blocks: np.ndarray, is_active: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Splits the block of each row by the active units that its sub-tasks keep.

        Args:
            level: Index of the activation.
            blocks: Int array (rows,).
            is_active: Bool array (rows, units).

        Returns:
            Two int arrays: the rows, each repeated for every part of its block, and the parts.
        """
        groups = self.groups[level]
        if not groups.membership.shape[1]:
            return np.arange(len(blocks)), blocks
        distinct, which = np.unique(blocks, return_inverse=True)
        varying = np.stack([self._varying_groups(level, block) for block in distinct])
        patterns = groups.active(is_active) & varying[which]
        keys = np.concatenate([which.astype("<u4").view("u1").reshape(-1, 4), patterns], axis=1)
        first, which_key = unique_rows(keys)
        parts = [self._parts(level, int(blocks[row]), patterns[row]) for row in first]
        counts = np.array([len(each) for each in parts])
        rows = np.repeat(np.arange(len(blocks)), counts[which_key])
        return rows, np.concatenate([parts[key] for key in which_key])

    def _varying_groups(self, level: int, block: int) -> np.ndarray:
        """Bits of the groups that some but not all sub-tasks of a block have."""
        if (level, block) not in self._varying:
            packed = self.groups[level].packed[self.members[block]]
            all_have = np.bitwise_and.reduce(packed, axis=0)
            self._varying[level, block] = np.bitwise_or.reduce(packed, axis=0) & ~all_have
        return self._varying[level, block]

    def _parts(self, level: int, block: int, pattern: np.ndarray) -> np.ndarray:
        if not pattern.any():
            return np.array([block])
        key = (level, block, pattern.tobytes())
        if key not in self._splits:
            members = self.members[block]
            first, which = unique_rows(self.groups[level].packed[members] & pattern)
            self._splits[key] = np.array(
                [self.add(members[which == part]) for part in range(len(first))]
            )
        return self._splits[key]


def unique_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows of a table of bytes.

    Args:
        rows: Uint8 array (n, bytes).

    Returns:
        The index of the first occurrence of each distinct row, and for each row the number of its
        distinct row.
    """
    as_one = np.ascontiguousarray(rows).view(f"V{rows.shape[1]}").reshape(-1)
    _, first, which = np.unique(as_one, return_index=True, return_inverse=True)
    return first, which.reshape(-1)
