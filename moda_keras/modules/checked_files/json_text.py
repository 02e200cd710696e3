"""JSON that is checked before and after it is parsed."""

import json
from collections.abc import Iterator
from typing import Any

MAX_BYTES = 16 * 2**20
# Values take up to a hundred bytes each in memory, and as few as two in the text.
MAX_VALUES = 10**6
MAX_DEPTH = 100


def parse_json(content: bytes, what: str) -> Any:
    """The value of a JSON text of limited size and depth.

    Args:
        content: The text.
        what: What it is, such as "its manifest".

    Returns:
        Dicts, lists, texts, numbers, bools and None.

    Raises:
        ValueError: If it is no JSON, or too large or too deep.
    """
    values = sum(map(content.count, (b",", b"[", b"{")))
    if len(content) > MAX_BYTES or values > MAX_VALUES:
        raise ValueError(
            f"{what} has {len(content):,} bytes and up to {values:,} values, over the limit of "
            f"{MAX_BYTES:,} and {MAX_VALUES:,}"
        )
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} cannot be read: it is no JSON") from error
    if any(depth > MAX_DEPTH for depth, _ in nodes(parsed)):
        raise ValueError(f"{what} is nested deeper than {MAX_DEPTH}")
    return parsed


def nodes(value: Any) -> Iterator[tuple[int, Any]]:
    """All dicts and lists in a parsed JSON text, with their depth.

    Args:
        value: From `json.loads`.

    Yields:
        The depth, 1 for the value itself, and a dict or list.
    """
    remaining = [(1, value)] if isinstance(value, (dict, list)) else []
    while remaining:
        depth, node = remaining.pop()
        yield depth, node
        inner = node.values() if isinstance(node, dict) else node
        remaining.extend((depth + 1, each) for each in inner if isinstance(each, (dict, list)))
