"""Standard output and error that may be closed while a program writes to them."""

import errno
import io
import os
import sys
from typing import TextIO


class Outlasting(io.FileIO):
    """A file descriptor whose reader may go, such as `tee`, or a terminal: the rest is dropped."""

    def write(self, data, /) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):
                raise
            return len(data)


def outlasting(descriptor: int, stream: TextIO | None) -> TextIO:
    """A text stream for a descriptor with the encoding of `stream`; None: the descriptor is closed.

    A closed one is opened on the null device, lest the next file that is opened get its number.
    """
    if stream is None:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, descriptor)
    return io.TextIOWrapper(
        io.BufferedWriter(Outlasting(descriptor, "w", closefd=False)),
        encoding=stream.encoding if stream else "utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )


def outlast_output() -> None:
    """From now on no print fails because nobody reads it any more."""
    sys.stdout = outlasting(1, sys.stdout)
    sys.stderr = outlasting(2, sys.stderr)
