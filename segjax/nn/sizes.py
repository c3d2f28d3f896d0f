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


def unet_input_size(output: int, depth: int, padding: str) -> int:
    """The smallest legal side of a U-Net's input whose output covers `output` pixels or voxels."""
    step = 2**depth
    if padding == "same":
        return round_up(output, step)
    # Unpadded pairs take 4 pixels at each level; `bottom` is the side after the last pooling:
    # input = step * bottom + 4 (step - 1), output = step * (bottom - 4) - 4 (step - 1).
    bottom = -(-(max(output, 1) + 4 * (step - 1)) // step) + 4
    return step * bottom + 4 * (step - 1)


def unet_output_size(size: int, depth: int, padding: str) -> int:
    """The side of a U-Net's output for a legal side of its input."""
    return size if padding == "same" else size - 12 * (2**depth - 1) - 4


def check_unet(sizes: Sequence[int], depth: int, padding: str, name: str) -> None:
    """Raise `InputError` with the nearest legal sizes unless every side is legal."""
    kind, unit = ("a volume", "voxels") if len(sizes) == 3 else ("an image", "pixels")
    for size in sizes:
        above = unet_input_size(unet_output_size(size, depth, padding), depth, padding)
        if above != size:
            below = above - 2**depth
            positive = unet_output_size(below, depth, padding) > 0
            nearest = f"{below} or {above}" if positive else f"{above}"
            raise InputError(
                f"{name} of depth {depth} with padding='{padding}' cannot take {kind} of "
                f"{' x '.join(map(str, sizes))} {unit}: a side of {size} does not halve evenly "
                f"{depth} times; the nearest legal side is {nearest}."
            )
