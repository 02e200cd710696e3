"""Kills a process at a chosen one of its calls that change the disk, and cuts the power.

Every call of Python's that opens a file for writing, renames, removes or makes something, and every
flush to disk, is a point. In a power cut, a file that was written and not flushed since keeps an
arbitrary part of what was written: what a rename without `fsync` leaves.
"""

import os
import random
import signal
import sys

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
EVENTS = {
    "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink",
}  # fmt: skip


class KillPoints:
    """Counts the points of this process below some folders; ends the process at one of them.

    Args:
        folders: The folders that are watched.
        kill_at: Index of the point at which the process ends, from 0; None never ends it.
        cuts_power: Whether what was not flushed is lost then.
        seed: Of the parts that unflushed files keep.
    """

    def __init__(self, folders, kill_at=None, cuts_power=True, seed=0):
        self.folders = [os.path.realpath(each) for each in folders]
        self.kill_at = kill_at
        self.cuts_power = cuts_power
        self.random = random.Random(seed)
        self.count = 0
        self.flushed = {}  # size of each file at its last flush
        self.unflushed = set()
        self.is_asleep = False

    def install(self):
        """Begins to count; there is no way back, so this is for a process of its own."""
        flush = os.fsync

        def fsync(descriptor):
            descriptor = getattr(descriptor, "fileno", lambda: descriptor)()
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            watched = self._is_watched(path)
            if watched:
                self._point()
            flush(descriptor)
            if watched and os.path.isfile(path):
                self.unflushed.discard(path)
                self.flushed[path] = os.path.getsize(path)

        os.fsync = fsync
        sys.addaudithook(self._see)

    def _see(self, event, arguments):
        if self.is_asleep or (event != "open" and event not in EVENTS):
            return
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, (str, bytes)) or not flags & WRITES:
                return
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if not self._is_watched(path):
            return
        self._point()
        if event == "open":
            self._note_writing(path, flags)
        if event == "os.rename":
            self._note_rename(path, os.path.abspath(os.fsdecode(arguments[1])))

    def _note_writing(self, path, flags):
        self.unflushed.add(path)
        if flags & os.O_TRUNC or not os.path.exists(path):
            self.flushed[path] = 0
        else:
            self.flushed.setdefault(path, os.path.getsize(path))

    def _note_rename(self, source, target):
        for known in (self.unflushed,):
            known.discard(target)
            if source in known:
                known.discard(source)
                known.add(target)
        self.flushed[target] = self.flushed.pop(source, 0)

    def _is_watched(self, path):
        path = os.path.realpath(os.path.dirname(path)) + os.sep
        return any(path.startswith(each + os.sep) for each in self.folders)

    def _point(self):
        if self.count == self.kill_at:
            self.is_asleep = True
            if self.cuts_power:
                self._cut_power()
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1

    def _cut_power(self):
        for path in sorted(self.unflushed):
            if os.path.isfile(path):
                first, size = self.flushed[path], os.path.getsize(path)
                os.truncate(path, self.random.randint(min(first, size), size))
