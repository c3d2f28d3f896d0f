"""What lies at a path of the user's: only regular files are opened, and the rest is named."""

import errno
import os
import stat

from segjax.errors import InputError, printable

Path = str | os.PathLike[str]

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class FileError(InputError):
    """One file that cannot be used, by its path, and the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return printable(f"{os.fspath(self.path)}: {self.reason}.")


def check(path: Path) -> None:
    """Raise `FileError` unless there is a regular file, or a link to one, at the path.

    Reading anything else may wait for ever or change something.
    """
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except FileNotFoundError:
        missing = "a link to a file that is not there"
        reason = missing if os.path.islink(path) else "there is no such file"
        raise FileError(path, reason) from None
    except OSError as e:
        loop = e.errno == errno.ELOOP
        reason = "a link that leads back to itself" if loop else f"cannot be read ({e.strerror})"
        raise FileError(path, reason) from e
    if kind != stat.S_IFREG:
        raise FileError(path, f"{_KINDS.get(kind, 'something else')}, not a file")


def stamp(path: Path) -> tuple[int, int]:
    """Size and time of the file, which change when it does; of a link that leads nowhere, its own.

    Raises:
      OSError: if there is nothing at the path.
    """
    try:
        found = os.stat(path)
    except OSError:
        found = os.lstat(path)
    return found.st_size, found.st_mtime_ns


def read_text(path: Path) -> str:
    """The text of a UTF-8 file.

    Raises:
      FileError: if it is no regular file, cannot be read, or is of another encoding.
    """
    check(path)
    encoding = FileError(path, "not UTF-8 text (perhaps Latin-1 or UTF-16); save it as UTF-8")
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except UnicodeDecodeError:
        raise encoding from None
    except OSError as e:
        raise FileError(path, f"cannot be read ({e.strerror})") from e
    if "\0" in text:  # UTF-16 without a mark decodes as letters with zeros between them
        raise encoding
    return text
