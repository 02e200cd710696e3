"""Which implementation of the operations a benchmark runs with."""

from collections.abc import Callable

from moda_keras.ops.native import choice


def with_mode(mode: str, run: Callable[[], object]) -> Callable[[], object]:
    """`run` as under MODA_KERAS_NATIVE=`mode`; a graph keeps what it was traced with."""

    def call():
        chosen, choice.mode = choice.mode, lambda: mode
        try:
            return run()
        finally:
            choice.mode = chosen

    return call
