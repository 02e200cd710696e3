import numpy as np

from moda_keras.evaluation.subtask_blocks import SubtaskBlocks


def parts_by_loop(unions, members, is_active):
    """The sub-tasks grouped by what their masks leave of the active units."""
    parts = {}
    for t in members:
        left = tuple(bool(u and a) for u, a in zip(unions[t], is_active, strict=True))
        parts.setdefault(left, []).append(t)
    return sorted(parts.values())


def test_split_groups_subtasks_by_what_they_leave_of_a_sample():
    random = np.random.default_rng(0)
    unions = random.random((9, 12)) < 0.5
    unions[:, 0], unions[:, 1] = True, False
    unions[4] = unions[2]
    is_active = random.random((30, 12)) < random.random((30, 1))
    is_active[0] = False
    blocks = SubtaskBlocks([unions])
    numbers = [
        blocks.add(np.arange(9)),
        blocks.add(np.array([1, 2, 4, 7])),
        blocks.add(np.array([3])),
    ]
    first = random.choice(numbers, size=30)
    rows, parts = blocks.split(0, first, is_active)
    assert (np.diff(rows) >= 0).all()
    for row in range(30):
        found = sorted(blocks.members[part].tolist() for part in parts[rows == row])
        assert found == parts_by_loop(unions, blocks.members[first[row]], is_active[row])


def test_equal_unions_are_never_split():
    unions = np.ones((5, 4), bool)
    blocks = SubtaskBlocks([unions])
    number = blocks.add(np.arange(5))
    rows, parts = blocks.split(0, np.full(3, number), np.ones((3, 4), bool))
    assert rows.tolist() == [0, 1, 2] and parts.tolist() == [number] * 3


def test_equal_blocks_have_one_number():
    blocks = SubtaskBlocks([])
    assert blocks.add(np.array([1, 3])) == blocks.add(np.array([1, 3])) != blocks.add(np.array([1]))
