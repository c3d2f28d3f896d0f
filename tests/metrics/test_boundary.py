import cv2
import jax
import numpy as np
import pytest

from segjax.metrics.boundary import boundary_band, boundary_iou


def mask_to_boundary(mask, width):
    """The reference of Cheng et al.: erode inside a frame of zeros, keep what falls."""
    framed = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1]
    return mask & (eroded == 0)


def blobs(rng, shape, classes):
    """Regions with outlines of every direction, some of them cut by the border."""
    noise = rng.standard_normal((classes, *shape)).astype(np.float32)
    return np.stack([cv2.GaussianBlur(n, (0, 0), 2) for n in noise]).argmax(0)


@pytest.mark.parametrize(("shape", "width"), [((19, 23), 1), ((19, 23), 3), ((4, 17), 5)])
def test_band_is_what_erosion_takes(shape, width):
    rng = np.random.default_rng(width)
    labels = np.stack([blobs(rng, shape, 4), np.zeros(shape, int), blobs(rng, shape, 2)])
    band = np.asarray(jax.jit(boundary_band, static_argnums=1)(labels, width))
    for image, got in zip(labels, band, strict=True):
        want = np.zeros(shape, bool)
        for c in range(4):
            want |= mask_to_boundary(image == c, width)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("width", [None, 2])
def test_split_against_reference(width):
    rng = np.random.default_rng(3)
    classes, shape = 4, (57, 91)
    pixels = width or 2  # 2 % of the diagonal of 107.4
    metric = boundary_iou(classes, width)
    stats = jax.jit(metric.stats)
    evidence = []
    inter, union = np.zeros((2, classes))
    for size in (3, 1):
        truth = np.stack([blobs(rng, shape, 3) for _ in range(size)])  # class 3 is never true
        guess = np.stack([np.roll(image, (1, 2), (0, 1)) for image in truth])
        guess[:, 30:33] = rng.integers(0, 4, (size, 3, shape[1]))
        truth[:, 5:9, 70:80] = 255
        valid = rng.random((size, *shape)) < 0.999
        counted = valid & (truth < classes)
        evidence.append(jax.tree.map(np.asarray, stats({"label": guess}, {"label": truth}, valid)))
        for t, g, v in zip(truth, guess, counted, strict=True):
            for c in range(classes):
                a, b = (mask_to_boundary((x == c) & v, pixels) for x in (t, g))
                inter[c] += (a & b).sum()
                union[c] += (a | b).sum()
    got = metric.summarise(evidence)
    assert 0.1 < got["boundary_iou"] < 0.9
    np.testing.assert_allclose(got["boundary_iou"], np.mean(inter / union))


def test_worked_square():
    # A 6x6 square in 12x12, predicted one column to the right: rings of 20 pixels share 10.
    truth = np.zeros((1, 12, 12), int)
    truth[0, 3:9, 3:9] = 1
    guess = np.roll(truth, 1, 2)
    metric = boundary_iou(2, width=1)
    stats = jax.jit(metric.stats)({"label": guess}, {"label": truth}, np.full(truth.shape, True))
    assert stats["intersection"][1] == 10
    assert stats["union"][1] == 30


def test_excluded_pixels_change_nothing():
    rng = np.random.default_rng(4)
    truth, guess = blobs(rng, (20, 31), 3)[None], blobs(rng, (20, 31), 3)[None]
    valid = rng.random(truth.shape) < 0.9
    metric = boundary_iou(3, width=2)
    stats = jax.jit(metric.stats)
    plain = stats({"label": guess}, {"label": truth}, valid)
    junk = rng.integers(0, 3, (2, *truth.shape))
    truth, guess = (np.where(valid, x, j) for x, j in zip((truth, guess), junk, strict=True))
    again = stats({"label": guess}, {"label": truth}, valid)
    jax.tree.map(np.testing.assert_array_equal, plain, again)


def test_perfect_is_one_and_nothing_is_nan():
    labels = blobs(np.random.default_rng(5), (15, 15), 2)[None]
    metric = boundary_iou(5)
    for valid, want in ((True, 1.0), (False, np.nan)):
        stats = jax.jit(metric.stats)(
            {"label": labels}, {"label": labels}, np.full(labels.shape, valid)
        )
        np.testing.assert_equal(metric.summarise([stats])["boundary_iou"], want)
