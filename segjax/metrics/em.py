"""Pixel error, V_rand and V_info of neuron membranes, as the ISBI 2012 challenge scores them.

Definitions: Arganda-Carreras et al. 2015 (Frontiers in Neuroanatomy 9:142). Where the paper leaves
a choice, the challenge's own evaluation decides (Fiji's Trainable Weka Segmentation,
`getMaximalVRandAfterThinning` and `getMaximalVInfoAfterThinning`): cells are 4-connected; the
proposal's membranes are thinned to dams by a watershed, the truth's are not; pixels that are
membrane in the truth do not count; a proposed membrane pixel inside a true cell is a segment of its
own; scores are averaged over images, then the best of the thresholds 0, 0.1, ..., 1 is reported.
Everything here but `stats` is numpy on the host.
"""

from collections.abc import Sequence

import chex
import numpy as np
import scipy.ndimage

from segjax.metrics.metric import Metric

# The challenge adds up 0.1 and ends just below 1, which a saturated probability still exceeds.
THRESHOLDS = (*(step / 10 for step in range(10)), float(np.nextafter(1.0, 0.0)))


def segments(mask: np.ndarray) -> np.ndarray:
    """Numbers the 4-connected components of a mask [H, W] from 1; 0 outside, int32 [H, W]."""
    chex.assert_rank(mask, 2)
    labels = np.zeros(mask.shape, np.int32)
    scipy.ndimage.label(mask, output=labels)
    return labels


def thin_borders(labels: np.ndarray) -> np.ndarray:
    """Grows segments [H, W] into the pixels labelled 0 until 4-connected dams part them.

    The watershed by flooding of the two-level image (Vincent and Soille 1991) in the challenge's
    scan order, pixel for pixel: first in, first out, from the left column to the right, neighbours
    left, up, right, down. A pixel takes the label of its flooded neighbours where they agree and
    becomes dam, 0, where they differ or are all dam. Without any segment the image is one basin.
    """
    chex.assert_rank(labels, 2)
    if not (labels > 0).any():
        return np.ones_like(labels)
    wall, dry, last = -1, -2, np.iinfo(np.int64).max
    columns = np.ascontiguousarray(np.where(labels > 0, labels, dry).T)
    grid = np.pad(columns, 1, constant_values=wall)
    flood = grid.ravel()
    steps = np.array([-grid.shape[1], -1, grid.shape[1], 1])  # left, up, right, down
    place = np.where(flood == dry, last, -1)  # in the queue; -1 is done, `last` is still to come
    front = np.flatnonzero(flood == dry)
    front = front[(flood[front[:, None] + steps] > 0).any(1)]
    while front.size:
        around = front[:, None] + steps
        queue = np.arange(front.size)
        place[front] = queue
        before = place[around] < queue[:, None]
        # One pass would do pixel by pixel. All at once, a pixel may see neighbours of its own
        # front too early: repeat until nothing changes, which only the one-by-one answer survives.
        previous = None
        while previous is None or (previous != flood[front]).any():
            previous = flood[front]
            known = np.where(before, flood[around], dry)
            highest = known.max(1)
            lowest = np.where(known > 0, known, highest[:, None]).min(1)
            flood[front] = np.where(lowest == highest, np.maximum(highest, 0), 0)
        place[front] = -1
        reached = around[flood[around] == dry]
        front = reached[np.sort(np.unique(reached, return_index=True)[1])]
    return grid[1:-1, 1:-1].T


def _counts(truth, proposed):
    """Pixels per true segment, per proposed segment and per pair of them, in the true segments."""
    chex.assert_equal_shape([truth, proposed])
    inside = truth > 0
    t, s = truth[inside].astype(np.int64), proposed[inside].astype(np.int64)
    alone = s == 0
    s[alone] = s.max(initial=0) + 1 + np.arange(alone.sum())
    pairs = t * (s.max(initial=0) + 1) + s
    return [np.unique(ids, return_counts=True)[1] for ids in (t, s, pairs)]


def v_rand(truth: np.ndarray, proposed: np.ndarray, alpha: float = 0.5) -> float:
    """Foreground-restricted Rand score of segments [H, W] against the truth, 1 is perfect.

    sum p_ij^2 / (alpha sum s_i^2 + (1 - alpha) sum t_j^2) over the pixels with truth > 0; proposed
    0 is a segment per pixel. alpha 0 is the split score, 1 the merge score, 0.5 the challenge's F
    score. NaN where the truth has no segment. Arganda-Carreras et al. 2015, V^Rand.
    """
    t, s, pairs = (np.sum(np.square(counts)) for counts in _counts(truth, proposed))
    return float(pairs / (alpha * s + (1 - alpha) * t)) if t else float("nan")


def v_info(truth: np.ndarray, proposed: np.ndarray, alpha: float = 0.5) -> float:
    """Foreground-restricted information theoretic score of segments [H, W], 1 is perfect.

    I(S; T) / ((1 - alpha) H(S) + alpha H(T)) over the pixels with truth > 0; proposed 0 is a
    segment per pixel. alpha 0 is the split score, 1 the merge score, 0.5 the challenge's F score.
    NaN where the truth has no segment. Where the denominator vanishes there is nothing to tell
    apart and the score is 1; the challenge's code says 0 for one cell proposed as itself.
    Arganda-Carreras et al. 2015, V^info.
    """
    counts = _counts(truth, proposed)
    n = counts[0].sum()
    if n == 0:
        return float("nan")
    t, s, pairs = (np.log(n) - np.sum(c * np.log(c)) / n for c in counts)
    denominator = (1 - alpha) * s + alpha * t
    return float((t + s - pairs) / denominator) if denominator > 1e-12 else 1.0


def em_scores(thresholds: Sequence[float] = THRESHOLDS) -> Metric:
    """Pixel error and the V scores, from preds['prob'] [B, H, W, C] and batch['label'] [B, H, W].

    Class 1 is cell, 0 membrane, any other label does not count, like valid=False; there the
    proposal is taken as membrane, whatever it says. A pixel is cell where prob[..., 1] > threshold.
    Figures: 'pixel_error', the share of wrong pixels at 0.5; 'v_rand' and 'v_info' at the best of
    the thresholds, which 'v_rand_threshold' and 'v_info_threshold' name; 'v_rand@0.5' and
    'v_info@0.5'. All are means over images; images without a cell have no V scores, images
    without a valid pixel nothing.
    """

    def stats(preds, batch, valid):
        chex.assert_rank([preds["prob"], batch["label"], valid], [4, 3, 3])
        label = batch["label"]
        valid = valid & ((label == 0) | (label == 1))
        return {"prob": preds["prob"][..., 1], "cell": label == 1, "valid": valid}

    def summarise(evidence):
        levels = (*thresholds, 0.5)
        errors, scores = [], []
        for batch in evidence:
            for prob, cell, valid in zip(batch["prob"], batch["cell"], batch["valid"], strict=True):
                if not valid.any():
                    continue
                prob = prob.astype(np.float64)  # in float32 the last threshold would round to 1
                errors.append(np.mean(((prob > 0.5) != cell)[valid]))
                if not (cell & valid).any():
                    continue
                truth = segments(cell & valid)
                proposals = [thin_borders(segments((prob > level) & valid)) for level in levels]
                scores.append([[v_rand(truth, p), v_info(truth, p)] for p in proposals])
        mean = np.mean(scores, axis=0) if scores else np.full((len(levels), 2), np.nan)
        figures = {"pixel_error": float(np.mean(errors)) if errors else float("nan")}
        for name, column in zip(("v_rand", "v_info"), mean.T, strict=True):
            best = int(np.argmax(column[:-1]))
            figures[name] = float(column[best])
            figures[f"{name}_threshold"] = float(thresholds[best]) if scores else float("nan")
            figures[f"{name}@0.5"] = float(column[-1])
        return figures

    scores = [f"{v}{kind}" for v in ("v_rand", "v_info") for kind in ("", "_threshold", "@0.5")]
    return Metric(("pixel_error", *scores), stats, summarise)
