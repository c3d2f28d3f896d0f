"""Geometric resampling: where each output pixel comes from, and what stands there.

Coordinates are [n, ...] (row, column; or depth, row, column) in pixels of the source, pixel centres
at integers.
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
    extent: jax.Array | None = None,
) -> jax.Array:
    """Values of `image` [H, W] or [H, W, C] at `coordinates` [2, h, w]: [h, w] or [h, w, C].

    Volumes have one axis more, and coordinates [3, d, h, w]. `order` is 'bilinear' (of integers
    the result is float32) or 'nearest' (any dtype; halves round up). `outside` is 'mirror'
    (reflection that does not repeat the edge pixel, over and over) or a number: the image is then
    surrounded by pixels of that value, so bilinear values fade to it over one pixel. `extent`, int
    [n], is how much of the image there is, from its first pixel on; all of it by default. Equal to
    `scipy.ndimage.map_coordinates` of order 1 and 0 with mode 'mirror' and 'grid-constant'; scipy's
    'constant' differs from the latter up to a pixel outside the border. Differentiable in the
    image, and in the coordinates when bilinear.
    """
    n = len(coordinates)
    chex.assert_rank([image, coordinates], [{n, n + 1}, n + 1])
    if order not in ("bilinear", "nearest"):
        raise InputError(f"sample: order must be 'bilinear' or 'nearest', not {order!r}.")
    if isinstance(outside, str) and outside != "mirror":
        raise InputError(f"sample: outside must be 'mirror' or a number, not {outside!r}.")
    image = jnp.asarray(image)
    blended = order == "bilinear" and not jnp.issubdtype(image.dtype, jnp.inexact)
    dtype = jnp.float32 if blended else image.dtype
    sides = jnp.array(image.shape[:n]) if extent is None else extent
    if outside == "mirror":
        coordinates = jnp.stack([_mirror(x, sides[axis]) for axis, x in enumerate(coordinates)])

    def pixel(*index):
        value = image.at[index].get(mode="clip").astype(dtype)
        if outside == "mirror":  # one past the last pixel has weight 0: any pixel will do
            return value
        inside = jnp.ones(index[0].shape, bool)
        for axis, i in enumerate(index):
            inside &= (i >= 0) & (i < sides[axis])
        return jnp.where(_like(inside, value), value, jnp.asarray(outside, dtype))

    if order == "nearest":
        return pixel(*jnp.floor(coordinates + 0.5).astype(jnp.int32))
    # One gather per corner: XLA fuses the index arithmetic into each of them.
    first = jnp.floor(coordinates)
    corner, share = first.astype(jnp.int32), coordinates - first

    def blend(*index):
        axis = len(index)
        if axis == n:
            return pixel(*index)
        low, high = blend(*index, corner[axis]), blend(*index, corner[axis] + 1)
        part = _like(share[axis], low).astype(dtype)
        return low * (1 - part) + high * part

    return blend()


def resized(
    image: jax.Array, extent: jax.Array, wanted: jax.Array, size: tuple[int, int]
) -> jax.Array:
    """The first `extent` (int [2]) pixels of [H, W, C] as the first `wanted` of `size` (h, w).

    Bilinear, half-pixel centres, the border's value outside: `cv2.resize` of what there is, for
    sizes that are known only when it runs. What is beyond `wanted` repeats the border.
    """
    ratio = extent / wanted
    axes = [jnp.arange(side, dtype=jnp.float32) for side in size]
    at = [jnp.clip((x + 0.5) * ratio[i] - 0.5, 0, extent[i] - 1.0) for i, x in enumerate(axes)]
    return sample(image, jnp.stack(jnp.meshgrid(*at, indexing="ij")), outside="mirror")


def coarse_displacement(offsets: jax.Array, size: tuple[int, ...]) -> jax.Array:
    """Smooth field [2, H, W] through `offsets` [2, g, g] on a coarse grid that spans the image.

    The grid's corner nodes lie on the image's corner pixels, g >= 2. The bicubic interpolation is
    the cubic B-spline that passes through the nodes, mirrored at the border: equal to
    `scipy.ndimage.map_coordinates(order=3, mode='mirror')` and to scipy's `zoom` of order 3.
    Volumes have offsets [3, g, g, g]. Offsets from N(0, 10 pixels) on g = 3 give the elastic
    deformation of U-Net (Ronneberger et al. 2015, section 3.1).
    """
    chex.assert_rank(offsets, len(size) + 1)
    chex.assert_axis_dimension(offsets, 0, len(size))
    for axis, n in enumerate(size, 1):
        spline = jnp.asarray(_spline_matrix(offsets.shape[axis], n))
        # Highest precision: TPUs would otherwise round displacements to bfloat16.
        along = jnp.tensordot(offsets, spline, (axis, 1), precision="highest")
        offsets = jnp.moveaxis(along, -1, axis)
    return offsets


def _like(mask, value):
    """`mask` [h, w] with the channel axis that `value` may have."""
    return mask[..., None] if value.ndim > mask.ndim else mask


def _mirror(x, n):
    """The coordinate in [0, n - 1] that x is a reflection of; x itself where it lies there."""
    period = jnp.maximum(2 * (n - 1), 1)
    x = jnp.abs(x) % period
    return jnp.minimum(jnp.minimum(x, period - x), n - 1)


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
