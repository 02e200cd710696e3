"""Zip archives whose members are checked before any of them is read."""

import contextlib
import io
import shutil
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from moda_keras.messages import is_printable, shortened
from moda_keras.modules.checked_files.limits import require_within

MAX_MEMBERS = 4096
MAX_DIRECTORY_BYTES = 2**20
# The format deflate cannot do better.
MAX_DEFLATE_RATIO = 1032
_LOCAL_HEADER_BYTES = 30
_ENCRYPTED = 0x1


@contextlib.contextmanager
def open_archive(source: Path | BinaryIO, limit: int) -> Iterator[zipfile.ZipFile]:
    """Opens a zip archive after a check of what its members declare.

    Args:
        source: A file.
        limit: The most bytes that its members may have together when they are unpacked.

    Yields:
        The archive.

    Raises:
        ValueError: If a member is encrypted, compressed by another method than deflate, given
            twice, called by a path that leads elsewhere, or overlaps another; if the archive begins
            with something else; or if there are too many members or bytes.
        zipfile.BadZipFile: If it is no zip archive.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(source.open("rb")) if isinstance(source, Path) else source
        bounded = _BoundedReader(file)
        archive = stack.enter_context(zipfile.ZipFile(bounded))
        bounded.longest = None
        _check_members(archive.infolist(), limit)
        yield archive


def read_member(archive: zipfile.ZipFile, name: str, most: int | None = None) -> bytes:
    """The content of a member.

    Args:
        archive: From `open_archive`.
        name: The member.
        most: The most bytes it may have; the limit of the whole archive by default.

    Raises:
        ValueError: If there is no such member, or it is larger.
        zipfile.BadZipFile: If it is damaged.
    """
    require_member(archive, name)
    size = archive.getinfo(name).file_size
    if most is not None and size > most:
        raise ValueError(f"its {name!r} has {size:,} bytes, over the limit of {most:,}")
    return archive.read(name)


def extract_member(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    """Writes a member to a file, piece by piece.

    Args:
        archive: From `open_archive`.
        name: The member.
        path: The file to write.
    """
    require_member(archive, name)
    with archive.open(name) as member, path.open("wb") as file:
        shutil.copyfileobj(member, file, 2**20)


def require_member(archive: zipfile.ZipFile, name: str) -> None:
    """Raises a ValueError if an archive has no member of a name."""
    if name not in archive.namelist():
        raise ValueError(f"it has no {name!r}")


class StoredMember(io.RawIOBase):
    """A member that is not compressed, read where it is in the archive.

    Going back in a member that `zipfile` opens means to read all of it again.

    Args:
        file: The archive, open for reading.
        member: Its entry in the table of contents.
    """

    def __init__(self, file: BinaryIO, member: zipfile.ZipInfo):
        file.seek(member.header_offset)
        header = file.read(_LOCAL_HEADER_BYTES)
        name, extra = struct.unpack("<26xHH", header)
        self.file = file
        self.start = member.header_offset + _LOCAL_HEADER_BYTES + name + extra
        self.size = member.file_size
        self.place = 0

    def readinto(self, buffer: Any) -> int:
        count = max(0, min(len(buffer), self.size - self.place))
        self.file.seek(self.start + self.place)
        content = self.file.read(count)
        buffer[: len(content)] = content
        self.place += len(content)
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.size}[whence]
        self.place = base + offset
        return self.place

    def tell(self) -> int:
        return self.place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


class _BoundedReader(io.RawIOBase):
    """A file of which no more than `longest` bytes are read at once.

    `zipfile` reads the table of contents as a whole, whatever its size.
    """

    def __init__(self, file: BinaryIO):
        self.file = file
        self.longest: int | None = MAX_DIRECTORY_BYTES

    def read(self, size: int = -1) -> bytes:
        if self.longest is not None and size > self.longest:
            raise ValueError(f"its table of contents has {size:,} bytes")
        return self.file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _check_members(members: list[zipfile.ZipInfo], limit: int) -> None:
    if len(members) > MAX_MEMBERS:
        raise ValueError(f"it has {len(members):,} members, over the limit of {MAX_MEMBERS:,}")
    names = {each.filename for each in members}
    if len(names) < len(members):
        raise ValueError("a member of it is there twice")
    for each in members:
        _check_name(each.filename)
        _check_compression(each)
    _check_places(members)
    require_within("its members unpack to", sum(each.file_size for each in members), limit)


def _check_name(name: str) -> None:
    parts = PurePosixPath(name).parts
    leads_elsewhere = name.startswith("/") or ".." in parts or "\\" in name or name[1:2] == ":"
    if leads_elsewhere or not parts or not is_printable(name):
        raise ValueError(f"a member of it has the name {shortened(ascii(name), 100)}")


def _check_compression(member: zipfile.ZipInfo) -> None:
    name, size, packed = member.filename, member.file_size, member.compress_size
    if member.flag_bits & _ENCRYPTED:
        raise ValueError(f"its {name!r} is encrypted")
    if member.compress_type == zipfile.ZIP_STORED:
        is_possible = size == packed
    elif member.compress_type == zipfile.ZIP_DEFLATED:
        is_possible = size <= MAX_DEFLATE_RATIO * packed
    else:
        raise ValueError(f"its {name!r} is compressed by the method {member.compress_type}")
    if not is_possible:
        raise ValueError(f"its {name!r} declares {size:,} bytes in {packed:,}")


def _check_places(members: list[zipfile.ZipInfo]) -> None:
    """Members are one after the other, from the first byte on."""
    end = 0
    for index, each in enumerate(sorted(members, key=lambda member: member.header_offset)):
        if index == 0 and each.header_offset:
            raise ValueError("there is something else before its first member")
        if each.header_offset < end:
            raise ValueError(f"its {each.filename!r} overlaps another member")
        end = each.header_offset + _LOCAL_HEADER_BYTES + each.compress_size
