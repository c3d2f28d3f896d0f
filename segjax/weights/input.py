"""How networks want their images: what those with weights of others have learned to see."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class Input(NamedTuple):
    """What a network takes of an image in [0, 1]: (image[..., order] - mean) / std.

    mean and std are one number, or one a channel as the network takes them; order is that of the
    channels, (2, 1, 0) for BGR, and None as they come.
    """

    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]
    order: tuple[int, ...] | None = None


UNIT = Input(0.0, 1.0)
INPUTS = {
    "imagenet": Input((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # torchvision, timm, most
    "unit": UNIT,
    "inception": Input(0.5, 0.5),  # a few of timm's
    "caffe": Input(  # BGR in [0, 255]
        (104.00699 / 255, 116.66877 / 255, 122.67892 / 255), 1 / 255, (2, 1, 0)
    ),
    "segnet": Input(0.0, 1 / 255, (2, 1, 0)),  # Caffe's too, without the mean
}
"""By the names of `config.input`."""


def name_of(values: Mapping[str, Any]) -> str | None:
    """The name in INPUTS of the fields of an input, as JSON has them, that has one."""
    found = json.dumps(values)
    return next((name for name, x in INPUTS.items() if json.dumps(x._asdict()) == found), None)


def seen(image: Any, input: Input) -> Any:
    """An image [..., C] in [0, 1] as a network of this input takes it."""
    if input.order is not None:
        image = image[..., np.array(input.order)]
    return (image - np.asarray(input.mean, np.float32)) / np.asarray(input.std, np.float32)
