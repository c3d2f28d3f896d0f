"""Writes the golden files of feature pyramids, torchvision's and segmentation-models-pytorch's.

python tests/golden/fpn.py    (made with torchvision 0.28, segmentation-models-pytorch 0.6.0)
"""

import segmentation_models_pytorch as smp
from reference import save
from torch import nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.resnet import BasicBlock, ResNet


class Detector(nn.Module):
    """Where detectors keep their pyramid."""

    def __init__(self):
        super().__init__()
        layers = {f"layer{i}": f"p{i + 1}" for i in (1, 2, 3, 4)}
        body = ResNet(BasicBlock, [1, 1, 1, 1])
        self.backbone = BackboneWithFPN(body, layers, [64, 128, 256, 512], 8)

    def forward(self, x):
        return dict(self.backbone(x))


save("fpn_torchvision", Detector(), (71, 99))
save("fpn_smp", smp.FPN("resnet18", encoder_weights=None, classes=5), (64, 96), batch=1)
