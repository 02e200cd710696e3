"""Worker processes end when the process that started them was killed."""

import functools
import multiprocessing
import os
import threading
import time

SECONDS = 1.0


@functools.cache
def exit_with(parent: int) -> None:
    """Ends this process once `parent` is gone, if that is the process that started it.

    A process that is killed cannot end its workers, and joblib's last one would wait for work for
    ever, with all the memory of its frameworks. Other workers, such as those of a cluster, are left
    alone. On Windows, which keeps the number of a parent that is gone, nothing happens.

    Args:
        parent: Number of the process that gave the work.
    """
    starter = multiprocessing.parent_process()
    if starter is not None and starter.pid == parent:
        threading.Thread(target=_wait, args=(parent,), daemon=True).start()


def _wait(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS)
    os._exit(1)
