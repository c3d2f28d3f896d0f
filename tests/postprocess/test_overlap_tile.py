import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segjax.errors import InputError
from segjax.postprocess.overlap_tile import overlap_tile


def network(channels, margin, padded=False, classes=2):
    """A convolution without padding (or with zeros around), whose window is 2 margin + 1 wide.

    Plain sums in one fixed order: a pixel's value depends, to the bit, on its window alone.
    """
    (top, left), rng = np.broadcast_to(margin, 2).tolist(), np.random.default_rng(7)
    kernel = rng.normal(size=(2 * top + 1, 2 * left + 1, channels, classes)).astype(np.float32)
    shapes = set()

    def apply(x):
        assert x.dtype == np.float32
        shapes.add(x.shape)
        if padded:
            x = np.pad(x, ((0, 0), (top, top), (left, left), (0, 0)))
        h, w = x.shape[1] - 2 * top, x.shape[2] - 2 * left
        out = np.zeros((len(x), h, w, classes), np.float32)
        for (i, j, c, k), weight in np.ndenumerate(kernel):
            out[..., k] += weight * x[:, i : i + h, j : j + w, c]
        return out

    return apply, shapes


def mirrored(image, margin):
    """Pixel by pixel: walk from inside and turn round at the edge pixels, however often."""
    for axis in (0, 1):
        n, steps = image.shape[axis], np.broadcast_to(margin, 2)[axis]

        def walk(position, direction, steps, n=n):
            path = []
            for _ in range(steps):
                if n > 1 and not 0 <= position + direction < n:
                    direction = -direction
                position += direction if n > 1 else 0
                path.append(position)
            return path

        before, after = walk(0, -1, steps), walk(n - 1, 1, steps)
        image = np.take(image, [*before[::-1], *range(n), *after], axis)
    return image


def check(shape, tile, margin, batch_size, padded):
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    channels = shape[2]
    apply, shapes = network(channels, margin, padded)
    out = overlap_tile(lambda x: {"map": apply(x)}, image, tile, margin, batch_size)["map"]
    whole, _ = network(channels, margin)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, whole(mirrored(image, margin)[None])[0])
    assert shapes == {(batch_size, *np.broadcast_to(tile, 2), channels)}


@pytest.mark.parametrize(
    ("H", "W", "channels", "tile", "margin"),
    [
        (37, 53, 1, 16, 3),  # odd, not divisible
        (37, 53, 3, (20, 13), (2, 4)),  # rectangular
        (20, 30, 3, 14, 2),  # divisible
        (11, 10, 1, 14, 2),  # one pixel more than a tile gives, and exactly as much
        (5, 7, 3, 20, 4),  # smaller than the tile
        (2, 3, 1, 20, 6),  # smaller than the margin: mirrored again and again
        (1, 9, 1, 8, 3),  # a single row
        (9, 8, 2, 3, 1),  # one pixel per tile
        (6, 5, 1, 4, 0),  # no margin
    ],
)
@pytest.mark.parametrize("padded", [False, True])
def test_tiles_equal_the_whole_image(H, W, channels, tile, margin, padded):  # noqa: N803
    for batch_size in (1, 3):
        check((H, W, channels), tile, margin, batch_size, padded)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 25), st.integers(1, 25), st.integers(0, 3), st.integers(1, 12),
    st.integers(1, 12), st.integers(1, 4), st.booleans(),
)  # fmt: skip
def test_any_size_equals_the_whole_image(H, W, margin, h, w, batch_size, padded):  # noqa: N803
    check((H, W, 1), (h + 2 * margin, w + 2 * margin), margin, batch_size, padded)


def test_context_is_real_image_wherever_there_is_some():
    """The last tiles move inwards: only pixels within `margin` of the border see a reflection."""
    seen = []

    def apply(tiles):
        seen.extend(tiles[..., 0])
        return {"map": tiles}

    image = np.arange(23 * 17, dtype=np.float32).reshape(23, 17, 1)
    out = overlap_tile(apply, image, 10, 2)["map"]
    np.testing.assert_array_equal(out, image)
    assert len(seen) == 4 * 3  # ceil(23 / 6) * ceil(17 / 6)
    padded = mirrored(image, 2)[..., 0]
    corners = [(y, x) for y in (0, 6, 12, 17) for x in (0, 6, 11)]
    for (y, x), tile in zip(corners, seen, strict=True):
        np.testing.assert_array_equal(tile, padded[y : y + 10, x : x + 10])


def test_progress_counts_tiles():
    calls = []
    image = np.zeros((10, 10, 1), np.uint8)
    out = overlap_tile(same, image, 4, 0, 4, lambda done, total: calls.append((done, total)))
    assert calls == [(4, 9), (8, 9), (9, 9)]
    assert out["map"].dtype == np.uint8


def same(tiles):
    return {"map": tiles}


def test_volumes_and_several_maps():
    volume = np.arange(7 * 9 * 8, dtype=np.uint16).reshape(7, 9, 8, 1)
    out = overlap_tile(
        lambda x: {"same": x, "sum": x.sum(-1, dtype=np.float32)}, volume, (4, 5, 6), 1, 2
    )
    np.testing.assert_array_equal(out["same"], volume)
    np.testing.assert_array_equal(out["sum"], volume[..., 0])


def test_unusable_arguments_say_so():
    image = np.zeros((9, 9, 1), np.float32)
    with pytest.raises(InputError, match="twice the margin"):
        overlap_tile(same, image, 8, 4)
    with pytest.raises(InputError, match=r"\[H, W, C\]"):
        overlap_tile(same, image[..., 0], 8, 1)
    with pytest.raises(InputError, match="batch_size"):
        overlap_tile(same, image, 8, 1, 0)
    with pytest.raises(InputError, match="8 x 8 must give"):
        overlap_tile(lambda x: same(x[:, 1:]), image, 8, 2)
