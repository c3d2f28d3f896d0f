"""Which image sizes a network takes."""

from collections.abc import Sequence

from segjax.errors import InputError


def round_up(size: int, multiple: int) -> int:
    """The smallest positive multiple that is at least `size`."""
    return max(-(-size // multiple), 1) * multiple


def check_multiple(sizes: Sequence[int], multiple: int, name: str) -> None:
    """Raise `InputError` with the nearest legal sizes unless every side is a multiple."""
    for size in sizes:
        if size % multiple:
            below, above = size // multiple * multiple, round_up(size, multiple)
            nearest = f"{below} or {above}" if below else f"{above}"
            raise InputError(
                f"{name} cannot take an image of {' x '.join(map(str, sizes))} pixels: a side of "
                f"{size} is no multiple of {multiple}; the nearest legal side is {nearest}."
            )
