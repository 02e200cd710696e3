"""Keras's progress bar, for work that may take long."""

import time

import keras

PATIENCE = 2.0  # seconds


class ProgressBar:
    """A bar that appears once the work has taken two seconds.

    Args:
        total: Number of units of work.
        verbose: 0 is silent; 1 and "auto" show the bar.
        unit_name: What a unit is called.
        patience: Float, seconds before it appears.

    Examples:
        >>> from moda_keras.progress import ProgressBar
        >>> bar = ProgressBar(3)
        >>> for done in range(3):
        ...     bar.update(done + 1)  # too quick to be shown
    """

    def __init__(
        self,
        total: int,
        verbose: str | int = "auto",
        *,
        unit_name: str = "step",
        patience: float = PATIENCE,
    ):
        if verbose not in (0, 1, "0", "1", "auto"):
            raise ValueError(
                f'Expected `verbose` to be 0, 1 or "auto". Received: verbose={verbose!r}'
            )
        self.total, self.unit_name = total, unit_name
        self.is_silent = verbose in (0, "0")
        self.appears_at = time.monotonic() + patience
        self.bar = None

    def update(self, done: int) -> None:
        """Shows how many units are done."""
        if self.is_silent or (self.bar is None and time.monotonic() < self.appears_at):
            return
        if self.bar is None:
            self.bar = keras.utils.Progbar(self.total, unit_name=self.unit_name)
        self.bar.update(done)
