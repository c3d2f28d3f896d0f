"""Pictures of images, labels and errors, drawn on the host: uint8 RGB."""

from collections.abc import Mapping

import cv2
import numpy as np

IGNORE_COLOUR = np.array([128, 128, 128], np.uint8)
WRONG, RIGHT = np.array([[230, 40, 40], [255, 255, 255]], np.uint8)


def palette(num_classes: int) -> np.ndarray:
    """uint8 [num_classes, 3]: class 0 black, the others bright and far apart in hue."""
    index = np.arange(num_classes)
    hue = (index * 0.61803398875 + 0.30) % 1.0  # the golden ratio spreads any number of hues
    value = np.where(index % 2, 255, 200)
    hsv = np.stack([hue * 179, np.full(num_classes, 200), value], axis=-1)
    colours = cv2.cvtColor(hsv[None].astype(np.uint8), cv2.COLOR_HSV2RGB)[0]
    colours[0] = 0
    return colours


def colour_labels(labels: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """int [..., H, W] -> uint8 [..., H, W, 3]; what is no class, such as ignore, is grey."""
    inside = (labels >= 0) & (labels < len(colours))
    picture = colours[np.where(inside, labels, 0)]
    return np.where(inside[..., None], picture, IGNORE_COLOUR)


def to_rgb(images: np.ndarray) -> np.ndarray:
    """float [B, H, W, C] of any scale -> uint8 [B, H, W, 3], each image stretched to full range."""
    images = images[..., :3] if images.shape[-1] >= 3 else images[..., :1]
    low, high = (np.percentile(images, q, axis=(1, 2, 3), keepdims=True) for q in (0.5, 99.5))
    stretched = np.clip((images - low) / np.maximum(high - low, 1e-6), 0, 1)
    return np.broadcast_to(np.rint(stretched * 255), (*images.shape[:3], 3)).astype(np.uint8)


def overlay(image: np.ndarray, labels: np.ndarray, colours: np.ndarray, opacity: float = 0.45):
    """uint8 [H, W, 3] with the colour of each class but 0 laid over it."""
    painted = (1 - opacity) * image + opacity * colour_labels(labels, colours)
    return np.where((labels > 0)[..., None], np.rint(painted), image).astype(np.uint8)


def errors(labels: np.ndarray, predictions: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """uint8 [..., H, W, 3]: red where the prediction is wrong, grey where it does not count."""
    wrong = (labels != predictions) & valid
    picture = np.where(wrong[..., None], WRONG, RIGHT)
    return np.where(valid[..., None], picture, IGNORE_COLOUR)


def sheet(panels: Mapping[str, np.ndarray], rows: int = 4, gap: int = 4) -> np.ndarray:
    """One picture: a titled column for each named uint8 [B, H, W, 3], a row for each example."""
    columns = []
    for name, pictures in panels.items():
        width = pictures.shape[2]
        title = np.full((24, width, 3), 255, np.uint8)
        cv2.putText(title, name, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        line = np.full((gap, width, 3), 255, np.uint8)
        column = np.concatenate([title, *(x for p in pictures[:rows] for x in (p, line))])
        columns += [column, np.full((len(column), gap, 3), 255, np.uint8)]
    return np.concatenate(columns[:-1], axis=1)
