"""Writes deeplab_v3plus_smp.npz: DeepLab v3+ of segmentation_models_pytorch.

python tests/golden/deeplab_v3plus.py    (made with segmentation_models_pytorch 0.6)
"""

import segmentation_models_pytorch as smp
from reference import save

model = smp.DeepLabV3Plus("resnet18", encoder_weights=None, decoder_channels=16, classes=5)
save("deeplab_v3plus_smp", model, (64, 96))
