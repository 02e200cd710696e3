"""The letters of an einsum equation, axis by axis."""

from collections.abc import Sequence


def einsum_labels(equation: str, ranks: Sequence[int]) -> tuple[list[str], str] | None:
    """The labels of the axes of every operand and of the result.

    Args:
        equation: As for `keras.ops.einsum`.
        ranks: Rank of every operand.

    Returns:
        One string per operand and one for the result, a letter per axis, the axes behind an
        ellipsis being "0", "1", ... from the right; None if the equation does not name its result.

    Examples:
        >>> einsum_labels("...x,xy->...y", [3, 2])
        (['10x', 'xy'], '10y')
    """
    equation = equation.replace(" ", "")
    if "->" not in equation:
        return None
    sources, result = equation.split("->")
    operands = [
        _spelled_out(labels, rank) for labels, rank in zip(sources.split(","), ranks, strict=True)
    ]
    hidden = {label for labels in operands for label in labels if label.isdigit()}
    return operands, result.replace("...", "".join(sorted(hidden, reverse=True)))


def _spelled_out(labels: str, rank: int) -> str:
    hidden = rank - len(labels.replace("...", ""))
    return labels.replace("...", "".join(map(str, reversed(range(hidden)))))
