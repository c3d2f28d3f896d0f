import collections
import itertools

import cv2
import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from segjax.metrics.em import em_scores, segments, thin_borders, v_info, v_rand

MAPS = hnp.arrays(np.int32, (4, 5), elements=st.integers(0, 3))


def neighbours(shape, y, x):
    for dy, dx in ((0, -1), (-1, 0), (0, 1), (1, 0)):
        if 0 <= y + dy < shape[0] and 0 <= x + dx < shape[1]:
            yield y + dy, x + dx


def flood_one_by_one(labels):
    """Vincent and Soille's queue for a two-level image, one pixel at a time, column by column."""
    dry, waiting = -2, -3
    out = np.where(labels > 0, labels, dry)
    queue = collections.deque()
    for x, y in itertools.product(range(labels.shape[1]), range(labels.shape[0])):
        if out[y, x] == dry and any(out[p] > 0 for p in neighbours(out.shape, y, x)):
            out[y, x] = waiting
            queue.append((y, x))
    while queue:
        pixel = queue.popleft()
        basins = set()
        for p in neighbours(out.shape, *pixel):
            if out[p] > 0:
                basins.add(out[p])
            elif out[p] == dry:
                out[p] = waiting
                queue.append(p)
        out[pixel] = basins.pop() if len(basins) == 1 else 0
    return out


def pairs_one_by_one(truth, proposed):
    """Ordered pairs of true pixels, each with itself too, that are together in T, S and both."""
    pixels = [
        (t, s if s else -1 - i)  # proposed background: each pixel on its own
        for i, (t, s) in enumerate(zip(truth.ravel(), proposed.ravel(), strict=True))
        if t
    ]
    together = np.zeros(3)
    for (t0, s0), (t1, s1) in itertools.product(pixels, pixels):
        together += [t0 == t1, s0 == s1, t0 == t1 and s0 == s1]
    return together


def entropies_one_by_one(truth, proposed):
    """H(T), H(S) and I(S; T) in bits, from probabilities."""
    pixels = [
        (t, s if s else -1 - i)
        for i, (t, s) in enumerate(zip(truth.ravel(), proposed.ravel(), strict=True))
        if t
    ]
    p = {pair: count / len(pixels) for pair, count in collections.Counter(pixels).items()}
    t, s = collections.Counter(), collections.Counter()
    for (a, b), value in p.items():
        t[a] += value
        s[b] += value
    h_t, h_s = (-sum(v * np.log2(v) for v in c.values()) for c in (t, s))
    return h_t, h_s, sum(v * np.log2(v / (t[a] * s[b])) for (a, b), v in p.items())


def two_cells():
    truth = np.ones((4, 6), int)
    truth[:, 3:] = 2
    return truth


def test_identity_is_perfect():
    truth = np.array([[1, 1, 0, 2], [1, 0, 2, 2], [3, 0, 7, 7]])
    for alpha in (0, 0.5, 1):
        np.testing.assert_allclose(v_rand(truth, truth, alpha), 1)
        np.testing.assert_allclose(v_info(truth, truth, alpha), 1)
    one = np.ones((2, 3), int)
    assert v_rand(one, one) == v_info(one, one) == 1


def test_two_equal_cells_merged():
    # sum p^2 = 1/4 + 1/4, sum s^2 = 1, sum t^2 = 1/2; the merged map tells nothing about the truth.
    truth, merged = two_cells(), np.ones((4, 6), int)
    np.testing.assert_allclose(v_rand(truth, merged), 0.5 / (0.5 * 1 + 0.5 * 0.5))
    assert v_rand(truth, merged, alpha=0) == 1
    assert v_rand(truth, merged, alpha=1) == 0.5
    assert v_info(truth, merged) == 0
    assert v_info(truth, merged, alpha=0) == 1


def test_one_of_two_equal_cells_split_in_half():
    # Parts of 1/2, 1/4, 1/4: sum p^2 = sum s^2 = 3/8; H(S) = 1.5 bits, H(T) = I = 1 bit.
    truth = two_cells()
    split = truth.copy()
    split[2:, 3:] = 3
    np.testing.assert_allclose(v_rand(truth, split), 0.375 / (0.5 * 0.375 + 0.5 * 0.5))
    np.testing.assert_allclose(v_rand(truth, split, alpha=0), 0.75)
    assert v_rand(truth, split, alpha=1) == 1
    np.testing.assert_allclose(v_info(truth, split), 2 / 2.5)
    np.testing.assert_allclose(v_info(truth, split, alpha=0), 1 / 1.5)
    np.testing.assert_allclose(v_info(truth, split, alpha=1), 1)


def test_proposed_membrane_in_a_cell_is_a_segment_per_pixel():
    # 4 true pixels: two kept together, two alone. sum p^2 = (4 + 1 + 1) / 16 = sum s^2, t^2 = 1.
    truth, proposed = np.ones((1, 4), int), np.array([[5, 5, 0, 0]])
    np.testing.assert_allclose(v_rand(truth, proposed), 0.375 / (0.5 * 0.375 + 0.5))


@hypothesis.given(truth=MAPS, proposed=MAPS)
@hypothesis.settings(deadline=None, max_examples=60)
def test_scores_against_brute_force(truth, proposed):
    if not truth.any():
        assert np.isnan(v_rand(truth, proposed))
        assert np.isnan(v_info(truth, proposed))
        return
    t, s, both = pairs_one_by_one(truth, proposed)
    h_t, h_s, mutual = entropies_one_by_one(truth, proposed)
    for alpha in (0, 0.3, 0.5, 1):
        np.testing.assert_allclose(
            v_rand(truth, proposed, alpha), both / (alpha * s + (1 - alpha) * t)
        )
        whole = (1 - alpha) * h_s + alpha * h_t
        if whole > 1e-9:
            np.testing.assert_allclose(v_info(truth, proposed, alpha), mutual / whole, atol=1e-9)
        else:
            assert v_info(truth, proposed, alpha) == 1


@hypothesis.given(truth=MAPS, proposed=MAPS, seed=st.integers(0, 99))
@hypothesis.settings(deadline=None, max_examples=30)
def test_numbers_of_segments_do_not_matter(truth, proposed, seed):
    rename = np.append(0, 1 + np.random.default_rng(seed).permutation(9)[:3] * 1000)
    for score in (v_rand, v_info):
        want = score(truth, proposed)
        np.testing.assert_allclose(score(rename[truth], proposed), want)
        np.testing.assert_allclose(score(truth, rename[proposed]), want)


def test_what_is_no_cell_in_the_truth_does_not_count():
    truth = np.array([[1, 1, 0, 2, 2]])
    a, b = np.array([[4, 4, 4, 9, 9]]), np.array([[4, 4, 0, 9, 9]])
    assert v_rand(truth, a) == v_rand(truth, b) == 1
    assert v_info(truth, a) == v_info(truth, b) == 1


def test_segments_are_four_connected():
    labels = segments(np.array([[1, 0, 1], [0, 1, 1]], bool))
    np.testing.assert_array_equal(labels, [[1, 0, 2], [0, 2, 2]])


def test_borders_thin_by_hand():
    # Even gap: both sides reach it at once, the left column is asked first and goes to 1; the
    # next then sees both and becomes the dam. Odd gap: the dam is the middle.
    np.testing.assert_array_equal(thin_borders(np.array([[1, 0, 0, 2]])), [[1, 1, 0, 2]])
    np.testing.assert_array_equal(thin_borders(np.array([[1, 0, 0, 0, 2]])), [[1, 1, 0, 2, 2]])
    np.testing.assert_array_equal(thin_borders(np.zeros((2, 3), int)), np.ones((2, 3)))
    np.testing.assert_array_equal(thin_borders(np.array([[0, 0], [0, 3]])), np.full((2, 2), 3))


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.6])
@pytest.mark.parametrize("shape", [(23, 31), (40, 17), (1, 9)])
def test_thinning_is_the_queue_pixel_for_pixel(shape, share):
    rng = np.random.default_rng(int(100 * share))
    for _ in range(5):
        labels = segments(rng.random(shape) < share)
        if labels.any():
            np.testing.assert_array_equal(thin_borders(labels), flood_one_by_one(labels))


def image_pair(rng, shape=(40, 56)):
    """A truth of cells between thin membranes and an uncertain probability of it."""
    field = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), 4)
    cell = np.abs(field) > 0.02
    noise = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), 1)
    return cell, np.clip(0.15 + 0.7 * cell + noise, 0, 1).astype(np.float32)


def run(metric, prob, label, valid):
    preds = {"prob": np.stack([1 - prob, prob], -1)}
    return jax.tree.map(np.asarray, jax.jit(metric.stats)(preds, {"label": label}, valid))


def test_metric_averages_images_and_takes_the_best_threshold():
    rng = np.random.default_rng(6)
    cells, probs = (np.stack(x) for x in zip(*(image_pair(rng) for _ in range(4)), strict=True))
    thresholds = (0.2, 0.5, 0.8)
    metric = em_scores(thresholds)
    valid = np.full(cells.shape, True)
    parts = [slice(0, 3), slice(3, 4)]
    evidence = [run(metric, probs[p], cells[p].astype(np.int32), valid[p]) for p in parts]
    got = metric.summarise(evidence)
    table = np.array(
        [
            [
                [f(segments(c), flood_one_by_one(segments(p > t))) for f in (v_rand, v_info)]
                for t in thresholds
            ]
            for c, p in zip(cells, probs, strict=True)
        ]
    ).mean(0)
    for k, name in enumerate(("v_rand", "v_info")):
        np.testing.assert_allclose(got[name], table[:, k].max())
        np.testing.assert_allclose(got[f"{name}@0.5"], table[1, k])
        assert got[f"{name}_threshold"] == thresholds[table[:, k].argmax()]
    np.testing.assert_allclose(got["pixel_error"], np.mean((probs > 0.5) != cells))
    assert 0 < got["pixel_error"] < 0.5
    assert 0.1 < got["v_rand@0.5"] < 1


def test_best_is_of_the_thresholds_asked_for():
    cell, prob = (x[None] for x in image_pair(np.random.default_rng(8)))
    metric = em_scores((0.05,))
    got = metric.summarise([run(metric, prob, cell.astype(np.int32), cell | True)])
    assert got["v_rand_threshold"] == got["v_info_threshold"] == 0.05
    assert got["v_rand"] < got["v_rand@0.5"]
    assert got["v_info"] < got["v_info@0.5"]


def test_excluded_pixels_and_padding_change_nothing():
    rng = np.random.default_rng(7)
    cells, probs = (np.stack(x) for x in zip(*(image_pair(rng) for _ in range(3)), strict=True))
    label = cells.astype(np.int32)
    label[0, 10:14, 5:30] = 255
    valid = np.full(cells.shape, True)
    valid[1, :, 50:] = False
    valid[2] = False
    metric = em_scores((0.3, 0.5))
    want = metric.summarise([run(metric, probs, label, valid)])
    junk = np.where(valid & (label < 2), probs, np.where(rng.random(label.shape) < 0.5, 1, np.nan))
    label = np.where(valid, label, 1)
    got = metric.summarise([run(metric, junk.astype(np.float32), label, valid)])
    assert got == want
    first_two = metric.summarise([run(metric, probs[:2], label[:2], valid[:2])])
    assert first_two == want


def test_saturated_probability_exceeds_the_last_threshold():
    cell = np.ones((1, 6, 9), bool)
    cell[0, :, 4] = False
    metric = em_scores()
    got = metric.summarise(
        [run(metric, cell.astype(np.float32), cell.astype(np.int32), cell | True)]
    )
    assert got == {
        "pixel_error": 0,
        "v_rand": 1,
        "v_rand_threshold": 0,
        "v_rand@0.5": 1,
        "v_info": 1,
        "v_info_threshold": 0,
        "v_info@0.5": 1,
    }
    only_last = em_scores(em_scores.__defaults__[0][-1:])
    evidence = run(only_last, cell.astype(np.float32), cell.astype(np.int32), cell | True)
    assert only_last.summarise([evidence])["v_rand"] == 1


def test_split_without_cells_has_no_scores():
    metric = em_scores((0.5,))
    label = np.zeros((1, 3, 4), np.int32)
    got = metric.summarise([run(metric, np.zeros((1, 3, 4), np.float32), label, label == 0)])
    assert got["pixel_error"] == 0
    assert np.isnan([got["v_rand"], got["v_info"], got["v_rand_threshold"]]).all()


def test_thicker_membranes_cost_little_and_lost_ones_much():
    # What the thinning is for: a membrane may be drawn wide, but not be left out.
    cell = np.ones((1, 50, 60), bool)
    cell[0, ::10] = cell[0, :, ::12] = False
    thick = cv2.erode(cell[0].astype(np.uint8), np.ones((3, 3), np.uint8))[None] > 0
    lost = cell.copy()
    lost[0, 20:31] = True
    metric = em_scores((0.5,))
    same, wide, merged = (
        metric.summarise([{"prob": p.astype(np.float32), "cell": cell, "valid": cell | True}])
        for p in (cell, thick, lost)
    )
    for name in ("v_rand", "v_info"):
        np.testing.assert_allclose(same[name], 1)
        np.testing.assert_allclose(wide[name], 1)
        assert merged[name] < 0.9
    assert wide["pixel_error"] > 0.2
