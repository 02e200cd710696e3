"""Workers end when the process that started them is killed, and others do not."""

import multiprocessing
import os
import select
import signal
import time

import numpy as np
import pytest

from moda_keras.evaluation import orphans, subtask_sweep

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX has parents that are gone")


def wait_as_worker(sender, pipe):
    orphans.exit_with.__wrapped__(os.getpid() if sender == "another" else os.getppid())
    os.write(pipe, b"x")
    time.sleep(60 if sender == "its parent" else 3)


def start_worker(sender, pipe):
    orphans.SECONDS = 0.05
    multiprocessing.get_context("fork").Process(target=wait_as_worker, args=(sender, pipe)).start()
    time.sleep(60)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(("sender", "is_left"), [("its parent", False), ("another", True)])
def test_worker_ends_with_the_process_that_gave_it_work(sender, is_left):
    read, write = os.pipe()
    parent = multiprocessing.get_context("fork").Process(target=start_worker, args=(sender, write))
    parent.start()
    os.close(write)
    assert select.select([read], [], [], 30)[0] and os.read(read, 1) == b"x"
    os.kill(parent.pid, signal.SIGKILL)
    parent.join()
    # The end of the pipe is read once no process has it open any more.
    ended = bool(select.select([read], [], [], 0.5 if is_left else 30)[0])
    os.close(read)
    assert ended != is_left


def test_job_watches_the_process_that_sent_it(monkeypatch):
    watched = []
    monkeypatch.setattr(subtask_sweep, "exit_with", watched.append)
    monkeypatch.setattr(subtask_sweep, "_measurement", lambda work: work)
    work = subtask_sweep._Work("digest", 1, np.zeros(1), None, None, 17)
    with pytest.raises(AttributeError, match="measure"):
        subtask_sweep._measure(work, [])
    assert watched == [17]
