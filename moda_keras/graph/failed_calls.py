"""Why a `call` cannot be recorded, in words that a reader of `mk.explain` understands."""

import re

# By a part of what Keras says: what the `call` does. Other errors are quoted.
_MEANINGS = {
    "`add_loss()` can only be called": "it adds a loss when it is called",
    "You cannot convert it to a NumPy array": "its call turns tensors into NumPy arrays",
    "A symbolic tensor has no gradient of its own": "its call defines a gradient of its own",
    "cannot be used as a boolean": "its call branches on the values of tensors",
    "You cannot add new elements of state": "it makes layers or weights when it is called",
}


def explain_failure(error: Exception) -> str:
    """Why a call failed on symbolic tensors, in words that follow "because"."""
    found = [meaning for part, meaning in _MEANINGS.items() if part in str(error)]
    return found[0] if found else f"its call fails on symbolic tensors ({describe(error)})"


def describe(error: Exception) -> str:
    """The class and the first line of an error, without what Keras wraps around it."""
    lines = [re.sub(r"\x1b\[\d*m", "", line).strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith("Exception encountered when")]
    return f"{type(error).__name__}: {told[0][:200]}" if told else type(error).__name__
