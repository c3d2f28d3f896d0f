"""Writes lraspp_torchvision.npz: torchvision's LR-ASPP on MobileNetV3-Large.

python tests/golden/lraspp.py    (made with torchvision 0.28)
"""

from reference import save
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

model = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5)
save("lraspp_torchvision", model, (65, 49))
