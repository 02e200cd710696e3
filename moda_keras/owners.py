"""Names of files that belong to one process, and whether that process still runs."""

import hashlib
import os
import re
import secrets
import socket
from pathlib import Path

# `.NAME~HOST-PID-START-RANDOM.KIND`; claims have no random part.
_PATTERN = re.compile(r"\..+~([0-9a-f]{8})-(\d+)-(\d+)(?:-[0-9a-f]+)?\.(part|claim)")
# The longest file names of common file systems have 255 bytes.
_LONGEST_STEM = 60
# A process of another host cannot be asked: its files are old after so many seconds.
OLD_AFTER = {"part": 24 * 3600, "claim": 300}


def temporary_name(stem: str) -> str:
    """A new name for a file or folder that this process will remove.

    Args:
        stem: A name to recognise it by, such as that of the file it becomes.

    Examples:
        >>> from moda_keras.owners import is_abandoned, temporary_name
        >>> is_abandoned(temporary_name("model.keras"), age=0)
        False
    """
    return f".{_shortened(stem)}~{_tag()}-{secrets.token_hex(4)}.part"


def claim_name(stem: str) -> str:
    """The one name by which this process claims the file `stem`."""
    return f".{_shortened(stem)}~{_tag()}.claim"


def is_claim_of(stem: str, name: str) -> bool:
    """Whether a name is any process's `claim_name` of the file `stem`."""
    found = _PATTERN.fullmatch(name)
    is_claim = found is not None and found[4] == "claim"
    return is_claim and name.startswith(f".{_shortened(stem)}~{found[1]}-{found[2]}-{found[3]}.")


def process_of(name: str) -> int:
    """The process id in a name of this module."""
    return int(_PATTERN.fullmatch(name)[2])


def is_abandoned(name: str, age: float) -> bool:
    """Whether a name is one of this module's, of a process that is gone.

    Args:
        name: Any file name.
        age: Seconds since the file last changed, by the clock of its file system. It decides for
            processes of other hosts and containers, which cannot be asked.
    """
    found = _PATTERN.fullmatch(name)
    if found is None:
        return False
    host, process, start, kind = found.groups()
    if host != _host():
        return age > OLD_AFTER[kind]
    return not _is_running(int(process), int(start))


def _shortened(stem: str) -> str:
    """A stem of limited length; different stems stay different."""
    if len(stem.encode()) <= _LONGEST_STEM:
        return stem
    digest = hashlib.blake2b(stem.encode(), digest_size=4).hexdigest()
    return f"{stem.encode()[: _LONGEST_STEM - 9].decode(errors='ignore')}-{digest}"


def _tag() -> str:
    """Not cached: a forked process is another owner."""
    process = os.getpid()
    return f"{_host()}-{process}-{_start_of(process)}"


def _host() -> str:
    """Identifies where a process id means this process: the host and, in Linux, the container."""
    try:
        container = os.readlink("/proc/self/ns/pid")
    except OSError:
        container = ""
    text = f"{socket.gethostname()} {container}"
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def _start_of(process: int) -> int:
    """When a process was started, in ticks since the boot; 0 where that is not told (not Linux)."""
    try:
        # The second field, the name in parentheses, may have spaces.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[19])


def _is_running(process: int, start: int) -> bool:
    """Whether the process runs, and is not a later one that was given the same id."""
    if os.name == "nt":
        return _is_running_in_windows(process)
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):  # no process has a number that large
        return False
    except PermissionError:
        pass
    return start in (0, _start_of(process))


def _is_running_in_windows(process: int) -> bool:
    """`os.kill` would end the process there."""
    import ctypes

    query, still_active = 0x1000, 259
    kernel = ctypes.windll.kernel32
    handle = kernel.OpenProcess(query, False, process)
    if not handle:
        return False
    code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return code.value == still_active
