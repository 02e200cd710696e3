"""Generates unique operation names."""


def unique_name(name: str, taken: set[str]) -> str:
    """`name`, or for a shared layer's further calls `name_1`, `name_2`, ...; adds it to `taken`."""
    unique, count = name, 0
    while unique in taken:
        count += 1
        unique = f"{name}_{count}"
    taken.add(unique)
    return unique
