"""What segjax says when the user's input cannot be used."""

from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class InputError(ValueError):
    """Input that cannot be used: one sentence that names the file or field and the fix.

    The command-line programs print it without a traceback; in Python it is a `ValueError`.
    """


def choose(table: Mapping[Any, T], name: Any, what: str) -> T:
    """table[name]; raises `InputError` with the choices if there is none, for the field `what`."""
    if name not in table:
        raise InputError(f"{what} is {name!r}; the choices are {', '.join(map(str, table))}.")
    return table[name]
