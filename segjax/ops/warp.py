"""Geometric resampling: where each output pixel comes from, and what stands there.

Coordinates are [2, h, w] (row, column) in pixels of the source, pixel centres at integers.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from segjax.errors import InputError


def sample(
    image: jax.Array,
    coordinates: jax.Array,
    order: str = "bilinear",
    outside: float | str = 0.0,
) -> jax.Array:
    """Values of `image` [H, W] or [H, W, C] at `coordinates` [2, h, w]: [h, w] or [h, w, C].

    `order` is 'bilinear' (float images) or 'nearest' (any dtype; halves round up). `outside` is
    'mirror' (reflection that does not repeat the edge pixel, over and over) or a number: the image
    is then surrounded by pixels of that value, so bilinear values fade to it over one pixel.
    Equal to `scipy.ndimage.map_coordinates` of order 1 and 0 with mode 'mirror' and
    'grid-constant'; scipy's 'constant' differs from the latter up to a pixel outside the border.
    Differentiable in the image, and in the coordinates when bilinear.
    """
    chex.assert_rank([image, coordinates], [{2, 3}, 3])
    chex.assert_axis_dimension(coordinates, 0, 2)
    if order not in ("bilinear", "nearest"):
        raise InputError(f"sample: order must be 'bilinear' or 'nearest', not {order!r}.")
    if isinstance(outside, str) and outside != "mirror":
        raise InputError(f"sample: outside must be 'mirror' or a number, not {outside!r}.")
    image = jnp.asarray(image)
    H, W = image.shape[:2]
    row, column = coordinates
    if outside == "mirror":
        row, column = _mirror(row, H), _mirror(column, W)

    def pixel(r, c):
        value = image.at[r, c].get(mode="clip")
        if outside == "mirror":  # one past the last pixel has weight 0: any pixel will do
            return value
        inside = (r >= 0) & (r < H) & (c >= 0) & (c < W)
        return jnp.where(_like(inside, value), value, jnp.asarray(outside, image.dtype))

    if order == "nearest":
        return pixel(*(jnp.floor(x + 0.5).astype(jnp.int32) for x in (row, column)))
    chex.assert_type(image, float)
    # One gather per corner: XLA fuses the index arithmetic into each of them.
    top, left = jnp.floor(row), jnp.floor(column)
    r, c = top.astype(jnp.int32), left.astype(jnp.int32)
    upper, lower = pixel(r, c), pixel(r + 1, c)
    down, right = _like(row - top, upper), _like(column - left, upper)
    upper = upper * (1 - right) + pixel(r, c + 1) * right
    lower = lower * (1 - right) + pixel(r + 1, c + 1) * right
    return upper * (1 - down) + lower * down


def affine_coordinates(
    size: tuple[int, int],
    centre: jax.Array,
    scale: float | jax.Array = 1.0,
    rotation: float | jax.Array = 0.0,
    displacement: jax.Array | None = None,
) -> jax.Array:
    """Source coordinates [2, h, w] of an output of `size` (h, w) whose centre lies at `centre`.

    `centre` [2] is in source pixels, `scale` enlarges the content, `rotation` (radians) turns it
    counter-clockwise as seen on the screen, about the output's centre. `displacement` [2, h, w],
    in output pixels, is added before them: the source of p is centre + R (p - middle + d(p)) / s.
    With scale 1, rotation 0 and no displacement the coordinates are exact.
    """
    chex.assert_rank([centre, scale, rotation], [1, 0, 0])
    h, w = size
    row = jnp.arange(h, dtype=jnp.float32)[:, None] - (h - 1) / 2
    column = jnp.arange(w, dtype=jnp.float32)[None, :] - (w - 1) / 2
    if displacement is not None:
        chex.assert_shape(displacement, (2, h, w))
        row, column = row + displacement[0], column + displacement[1]
    cos, sin = jnp.cos(rotation) / scale, jnp.sin(rotation) / scale
    return jnp.stack(
        [centre[0] + (cos * row + sin * column), centre[1] + (cos * column - sin * row)]
    )


def coarse_displacement(offsets: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Smooth field [2, H, W] through `offsets` [2, g, g] on a coarse grid that spans the image.

    The grid's corner nodes lie on the image's corner pixels, g >= 2. The bicubic interpolation is
    the cubic B-spline that passes through the nodes, mirrored at the border: equal to
    `scipy.ndimage.map_coordinates(order=3, mode='mirror')` and to scipy's `zoom` of order 3.
    Offsets from N(0, 10 pixels) on g = 3 give the elastic deformation of U-Net (Ronneberger et
    al. 2015, section 3.1).
    """
    chex.assert_rank(offsets, 3)
    chex.assert_axis_dimension(offsets, 0, 2)
    rows, columns = (
        jnp.asarray(_spline_matrix(g, n)) for g, n in zip(offsets.shape[1:], size, strict=True)
    )
    # Highest precision: TPUs would otherwise round displacements to bfloat16.
    return jnp.einsum("hi,dij,wj->dhw", rows, offsets, columns, precision="highest")


def _like(mask, value):
    """`mask` [h, w] with the channel axis that `value` may have."""
    return mask[..., None] if value.ndim > mask.ndim else mask


def _mirror(x, n):
    """The coordinate in [0, n - 1] that x is a reflection of; x itself where it lies there."""
    if n == 1:
        return jnp.zeros_like(x)
    period = 2 * (n - 1)
    x = jnp.abs(x) % period
    return jnp.minimum(x, period - x)


def _spline_matrix(nodes, n):
    """Float32 [n, nodes]: the interpolating cubic B-spline through `nodes`, at n even steps."""
    if nodes < 2:
        raise InputError(f"coarse_displacement: the grid needs at least 2 x 2 nodes, not {nodes}.")

    def basis(positions):  # [len(positions), nodes], node k with its mirror images near the grid
        k = np.arange(-2, nodes + 2)
        t = np.abs(positions[:, None] - k)
        spline = np.where(t < 1, 2 / 3 - t**2 + t**3 / 2, np.maximum(2 - t, 0) ** 3 / 6)
        period = 2 * (nodes - 1)
        mirrored = np.minimum(k % period, -k % period)
        return spline @ np.eye(nodes)[mirrored]

    through = np.linalg.inv(basis(np.arange(nodes)))
    return (basis(np.linspace(0, nodes - 1, n)) @ through).astype(np.float32)
