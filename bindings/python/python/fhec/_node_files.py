"""Files that the processes of one node share: written once, mapped by each, removed when nobody has them any more."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from .errors import FileError

_SUFFIX = ".shared"
_PART = ".part"


class NodeFile:
    """A file of this node with content that is known by its hash. It stays until :meth:`close`, or until the process ends."""

    def __init__(self, name: str, content: Any) -> None:
        """``name`` is a hash of ``content``, a buffer, which is written unless another process of the node has done so."""
        folder = _folder()
        self.path = folder / f"{name}{_SUFFIX}"
        with _locked(folder):
            _sweep(folder)
            if not self.path.exists():
                part = self.path.with_suffix(_PART)
                with open(part, "wb") as file:
                    file.write(content)
                os.replace(part, self.path)
            # The lock says that the file is in use. It ends with the process, however that ends.
            self._file: BinaryIO | None = open(self.path, "rb")
            fcntl.flock(self._file, fcntl.LOCK_SH)

    def close(self) -> None:
        """Removes the file, unless another process has it."""
        if self._file is not None:
            self._file.close()
            self._file = None
            with _locked(self.path.parent):
                _sweep(self.path.parent)


def _folder() -> Path:
    """The folder of these files, which belongs to this user alone."""
    folder = Path(tempfile.gettempdir()) / f"fhec-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise FileError(
            f"{folder} is open to other users",
            file=str(folder),
            help="remove it, or have TMPDIR name a folder of your own on this node",
        )
    return folder


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sweep(folder: Path) -> None:
    """Removes what no process has: processes that were killed leave files behind. The caller has locked the folder, so that none
    is being written."""
    for part in folder.glob(f"*{_PART}"):
        part.unlink()
    for path in folder.glob(f"*{_SUFFIX}"):
        with open(path, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            path.unlink()
