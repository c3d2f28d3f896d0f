"""Geometry as data: flips, turns, zooms, crops and deformations that compose before they resample.

A `Geometry` says for every pixel of the output where in the input it comes from. A step is a
function `(key, geometry) -> geometry` that draws one more change of the output; `geometric(*steps)`
draws one geometry for each example and moves every field with it, resampled once, by the rule of
`segjax.fields`. What lies outside of the image does not count: `mask` is False there.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from segjax import fields
from segjax.augment.compose import Augmentation
from segjax.errors import InputError
from segjax.ops.warp import coarse_displacement, sample

Step = Callable[[jax.Array, "Geometry"], "Geometry"]
INVERSIONS = 12  # steps of the iteration that finds where a deformation moves a point


class Geometry(struct.PyTreeNode):
    """Output pixel p -> input pixel matrix @ (p + displacement[p], 1), of n = 2 or 3 axes.

    Pixels are (row, column) or (depth, row, column), their centres at integers.
    """

    matrix: jax.Array  # float32 [n, n + 1]
    extent: jax.Array  # float32 [n]: the sides of what there is to see, from pixel 0 of the output
    displacement: jax.Array | None  # float32 [n, *size], in pixels of the output
    size: tuple[int, ...] = struct.field(pytree_node=False)  # of the output


def identity(size: Sequence[int], extent: jax.Array | None = None) -> Geometry:
    """Every pixel stays; of an image of which `extent` [n] is there, by default all."""
    n = len(size)
    extent = jnp.array(size) if extent is None else extent
    return Geometry(jnp.eye(n, n + 1), extent.astype(jnp.float32), None, tuple(size))


def after(geometry: Geometry, linear: Any, offset: Any, **changes: Any) -> Geometry:
    """The geometry of an output whose pixel p shows what pixel linear @ p + offset has shown."""
    if geometry.displacement is not None:
        raise InputError("A deformation is the last step of a geometry: put elastic() at its end.")
    matrix, shift = geometry.matrix[:, :-1], geometry.matrix[:, -1]
    matrix = jnp.concatenate([_dot(matrix, linear), (_dot(matrix, offset) + shift)[:, None]], 1)
    return geometry.replace(matrix=matrix, **changes)


def flip(*axes: int) -> Step:
    """Mirrors along each of the axes, half the time: 1 is left and right, 0 top and bottom."""

    def step(key: jax.Array, geometry: Geometry) -> Geometry:
        n = len(geometry.size)
        yes = (
            jnp.zeros(n, bool)
            .at[jnp.array(axes)]
            .set(jax.random.bernoulli(key, shape=(len(axes),)))
        )
        linear = jnp.diag(jnp.where(yes, -1.0, 1.0))
        return after(geometry, linear, jnp.where(yes, geometry.extent - 1, 0.0))

    return step


def quarter_turns() -> Step:
    """Turns by 0, 90, 180 or 270 degrees, equally often; what there is to see must be square.

    A crop before it makes it so.
    """

    def step(key: jax.Array, geometry: Geometry) -> Geometry:
        if len(geometry.size) != 2 or geometry.size[0] != geometry.size[1]:
            raise InputError(
                "quarter_turns: the images must be square, not "
                f"{' x '.join(map(str, geometry.size))}; crop() them before, or use flip(0, 1)."
            )
        angle = jax.random.randint(key, (), 0, 4)
        cos, sin = jnp.array([1.0, 0, -1, 0])[angle], jnp.array([0.0, 1, 0, -1])[angle]
        linear = jnp.array([[cos, sin], [-sin, cos]])
        # A turn by 90 degrees shows column j of the old in row i of the new: extents change places.
        last = geometry.extent - 1
        extent = jnp.where(angle % 2 == 1, geometry.extent[::-1], geometry.extent)
        offset = jnp.where(linear.sum(1) < 0, last, 0.0)
        return after(geometry, linear, offset, extent=extent)

    return step


def zoom(low: float, high: float) -> Step:
    """Enlarges by a factor drawn uniformly from [low, high]; what there is grows with it."""
    if not 0 < low <= high:
        raise InputError(f"zoom: the factors must be 0 < low <= high, not {low} and {high}.")

    def step(key: jax.Array, geometry: Geometry) -> Geometry:
        return _zoomed(geometry, low + (high - low) * jax.random.uniform(key))

    return step


def rotate(degrees: float) -> Step:
    """Turns by an angle drawn uniformly from [-degrees, degrees] about the middle, in the plane."""

    def step(key: jax.Array, geometry: Geometry) -> Geometry:
        angle = math.radians(degrees) * jax.random.uniform(key, minval=-1.0)
        n = len(geometry.size)
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        linear = jnp.eye(n).at[-2:, -2:].set(jnp.array([[cos, sin], [-sin, cos]]))
        middle = (geometry.extent - 1) / 2
        return after(geometry, linear, middle - _dot(linear, middle))

    return step


def crop(*size: int) -> Step:
    """A window of this size anywhere in what there is, or around it where that is smaller.

    It moves by whole pixels, all places equally likely, so that a plain crop copies pixels.
    """
    if not size or min(size) < 1:
        raise InputError(f"crop: the size must be positive pixels, not {size}.")

    def step(key: jax.Array, geometry: Geometry) -> Geometry:
        _check_axes("crop", size, geometry)
        slack = geometry.extent - jnp.array(size)
        start = jnp.floor(jax.random.uniform(key, (len(size),)) * (jnp.abs(slack) + 1))
        start = jnp.sign(slack) * jnp.minimum(start, jnp.abs(slack))
        window = jnp.array(size, jnp.float32)
        return after(geometry, jnp.eye(len(size)), start, extent=window, size=tuple(size))

    return step


def letterbox(*size: int) -> Step:
    """What there is, as large as it fits into a window of this size, in its middle."""

    def step(key: jax.Array, geometry: Geometry) -> Geometry:
        del key
        _check_axes("letterbox", size, geometry)
        window = jnp.array(size, jnp.float32)
        geometry = _zoomed(geometry, jnp.min(window / geometry.extent))
        start = (geometry.extent - window) / 2
        return after(geometry, jnp.eye(len(size)), start, extent=window, size=tuple(size))

    return step


def large_scale_jitter(*size: int, low: float = 0.1, high: float = 2.0) -> Step:
    """Fits what there is into `size`, enlarges it by a factor from [low, high], and crops `size`.

    Ghiasi et al. 2021 (arXiv:2012.07177), section 4.1.
    """
    enlarge, window = zoom(low, high), crop(*size)

    def step(key: jax.Array, geometry: Geometry) -> Geometry:
        _check_axes("large_scale_jitter", size, geometry)
        zoom_key, crop_key = jax.random.split(key)
        geometry = _zoomed(geometry, jnp.min(jnp.array(size) / geometry.extent))
        return window(crop_key, enlarge(zoom_key, geometry))

    return step


def elastic(sigma: float, nodes: int = 3) -> Step:
    """Displacements from N(0, sigma) pixels of the output on a coarse grid, bicubic between.

    The last step of a geometry. U-Net (Ronneberger et al. 2015, section 3.1) has 10 pixels on
    3 x 3 nodes.
    """
    if sigma < 0:
        raise InputError(f"elastic: sigma must be 0 or more pixels, not {sigma}.")

    def step(key: jax.Array, geometry: Geometry) -> Geometry:
        n = len(geometry.size)
        offsets = sigma * jax.random.normal(key, (n, *[nodes] * n))
        moved = after(geometry, jnp.eye(n), jnp.zeros(n))
        return moved.replace(displacement=coarse_displacement(offsets, geometry.size))

    return step


def geometric(*steps: Step, pairs: Sequence[tuple[int, int]] = ()) -> Augmentation:
    """The augmentation by one geometry an example, drawn by the steps from left to right.

    `pairs` are the points that change places in a mirror, such as left and right eyes.
    """

    def augment(key: jax.Array, batch: dict[str, Any]) -> dict[str, Any]:
        fields.check(batch)
        size = batch["image"].shape[1:-1]
        chex.assert_equal_shape_prefix(
            [batch[f] for f in fields.GRIDS if f in batch], 1 + len(size)
        )

        def example(key: jax.Array, arrays: dict[str, Any]) -> dict[str, Any]:
            geometry = identity(size, arrays.get("extent"))
            for step, part in zip(steps, jax.random.split(key, max(len(steps), 1)), strict=False):
                geometry = step(part, geometry)
            return move(geometry, arrays, pairs)

        return jax.vmap(example)(jax.random.split(key, len(batch["image"])), batch)

    return augment


def move(
    geometry: Geometry, example: dict[str, Any], pairs: Sequence[tuple[int, int]] = ()
) -> dict[str, Any]:
    """All fields of one example as the geometry shows them; see `segjax.fields`."""
    fields.check(example)
    n, out = len(geometry.size), dict(example)
    whole = jnp.array(example["image"].shape[:n])
    extent = example.get("extent", whole)
    at = coordinates(geometry)
    grids = {"mask": jnp.ones(example["image"].shape[:n], bool), **example}
    for name, rule in fields.GRIDS.items():
        if name in grids:
            out[name] = sample(grids[name], at, rule.order, rule.outside, extent)
    if jnp.issubdtype(example["image"].dtype, jnp.integer):
        out["image"] = out["image"] / np.float32(jnp.iinfo(example["image"].dtype).max)
    out["extent"] = jnp.minimum(jnp.ceil(geometry.extent), jnp.array(geometry.size)).astype(
        jnp.int32
    )
    if objects := [name for name in fields.OBJECTS if name in example]:
        if n != 2:
            raise InputError(f"A geometry of volumes cannot move {', '.join(objects)}.")
        out |= _moved_objects(geometry, example, pairs)
    return out


def coordinates(geometry: Geometry) -> jax.Array:
    """Float32 [n, *size]: where in the input each pixel of the output comes from."""
    axes = [jnp.arange(side, dtype=jnp.float32) for side in geometry.size]
    pixel = jnp.meshgrid(*axes, indexing="ij", sparse=True)
    if geometry.displacement is not None:
        pixel = [p + d for p, d in zip(pixel, geometry.displacement, strict=True)]
    # Sums of products, not a matrix product, which TPUs would round to bfloat16.
    rows = []
    for *factors, shift in geometry.matrix:
        row = sum(factor * p for factor, p in zip(factors, pixel, strict=True)) + shift
        rows.append(jnp.broadcast_to(row, geometry.size))
    return jnp.stack(rows)


def located(geometry: Geometry, points: jax.Array) -> jax.Array:
    """Where points [..., n] of the input, in pixels, lie in the output.

    The inverse of a deformation is iterated, and exact to a hundredth of a pixel where it moves
    neighbours less than half as far apart as they are.
    """
    matrix, shift = geometry.matrix[:, :-1], geometry.matrix[:, -1]
    inverse = jnp.linalg.inv(matrix)
    wanted = jnp.einsum("ij,...j->...i", inverse, points - shift, precision="highest")
    displacement = geometry.displacement
    if displacement is None:
        return wanted
    last = jnp.array(geometry.size) - 1

    def moved(at: jax.Array) -> jax.Array:
        at = jnp.moveaxis(jnp.clip(at, 0, last), -1, 0)
        flat = at.reshape(len(at), *[1] * (len(at) - 1), -1)
        found = [sample(d, flat, outside="mirror") for d in displacement]
        return jnp.stack(found, -1).reshape(points.shape)

    def nearer(at: jax.Array, _: None) -> tuple[jax.Array, None]:
        return wanted - moved(at), None

    return jax.lax.scan(nearer, wanted, None, INVERSIONS)[0]


def _moved_objects(
    geometry: Geometry, example: dict[str, Any], pairs: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    """The fields of objects: x and y of edges, which are half a pixel before centres."""

    def there(xy: jax.Array) -> jax.Array:
        return located(geometry, xy[..., ::-1] - 0.5)[..., ::-1] + 0.5

    out: dict[str, Any] = {}
    height, width = geometry.size
    sides = jnp.array([width, height], jnp.float32)
    if "boxes" in example:
        # With points between the corners, for a deformation bends the edges.
        t = jnp.linspace(0, 1, 2 if geometry.displacement is None else 9)
        edges = jnp.array([(u, v) for u in range(2) for v in range(2)], jnp.float32)
        if geometry.displacement is not None:
            zero, one = jnp.zeros_like(t), jnp.ones_like(t)
            lines = [(t, zero), (t, one), (zero, t), (one, t)]
            edges = jnp.concatenate([jnp.stack(line, -1) for line in lines])
        low, high = example["boxes"][:, None, :2], example["boxes"][:, None, 2:]
        outline = jnp.clip(there(low + (high - low) * edges), 0, sides)  # [N, points, 2]
        boxes = jnp.concatenate([outline.min(1), outline.max(1)], -1)
        thick = jnp.all(boxes[:, 2:] - boxes[:, :2] >= 1, -1)
        out["boxes"] = boxes
        out["present"] = thick & example.get("present", jnp.ones(thick.shape, bool))
    if "frames" in example:
        # The affine map nearest to where the corners (0, 0), (1, 0), (0, 1), (1, 1) go.
        corners = jnp.array([[0.0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
        a, b, c, d = jnp.moveaxis(there(jnp.swapaxes(_dot(example["frames"], corners), 1, 2)), 1, 0)
        u, v = (b + d - a - c) / 2, (c + d - a - b) / 2
        out["frames"] = jnp.stack([u, v, (a + b + c + d) / 4 - (u + v) / 2], -1)
    if "points" in example:
        points = there(example["points"])
        inside = jnp.all((points >= 0) & (points < sides), -1)
        visible = inside & example.get("visible", jnp.ones(inside.shape, bool))
        order = np.arange(points.shape[-2])
        for left, right in pairs:
            order[[left, right]] = right, left
        linear = geometry.matrix[:, :-1]
        mirrored = linear[0, 0] * linear[1, 1] < linear[0, 1] * linear[1, 0]
        out["points"] = jnp.where(mirrored, points[..., order, :], points)
        out["visible"] = jnp.where(mirrored, visible[..., order], visible)
    return out


def _dot(a: Any, b: Any) -> jax.Array:
    return jnp.matmul(a, b, precision="highest")  # which TPUs would round to bfloat16


def _zoomed(geometry: Geometry, factor: jax.Array) -> Geometry:
    n = len(geometry.size)
    extent = geometry.extent * factor
    return after(geometry, jnp.eye(n) / factor, (0.5 / factor - 0.5) * jnp.ones(n), extent=extent)


def _check_axes(name: str, size: Sequence[int], geometry: Geometry) -> None:
    if len(size) != len(geometry.size):
        raise InputError(f"{name}: {tuple(size)} does not fit images of {geometry.size} pixels.")
