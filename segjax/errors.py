"""What segjax says when the user's input cannot be used."""

import errno
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

DISK_ERRORS = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EACCES", "EPERM", "EROFS", "ENOTDIR")
}
DISK_FULL = ("No space left", "Disk quota exceeded", "File too large", "Not enough disk space")


class InputError(ValueError):
    """Input that cannot be used: one sentence that names the file or field and the fix.

    The command-line programs print it without a traceback; in Python it is a `ValueError`.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


def printable(text: object) -> str:
    """The text as UTF-8 can hold it: a byte of a file name that is not UTF-8 becomes `\\udcff`."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def choose(table: Mapping[Any, T], name: Any, what: str) -> T:
    """table[name]; raises `InputError` with the choices if there is none, for the field `what`."""
    if name not in table:
        raise InputError(f"{what} is {name!r}; the choices are {', '.join(map(str, table))}.")
    return table[name]


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what caused it, outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def disk_full(error: BaseException) -> str | None:
    """How the error, or what caused it, says that a disk is full; None if it says something else.

    Libraries that write in C++ raise other types than `OSError`, without an errno.
    """
    text = "\n".join(str(e) for e in chain_of(error))
    return next((reason for reason in DISK_FULL if reason in text), None)
