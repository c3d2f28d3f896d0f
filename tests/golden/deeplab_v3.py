"""Writes deeplab_v3_torchvision.npz, deeplab_v3_mobilenet_v3_torchvision.npz, deeplab_v3_smp.npz.

python tests/golden/deeplab_v3.py    (made with torchvision 0.28, segmentation_models_pytorch 0.6)
"""

import segmentation_models_pytorch as smp
from narrow_resnet import NarrowResNet
from reference import save
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large
from torchvision.models.segmentation.deeplabv3 import DeepLabHead, DeepLabV3
from torchvision.models.segmentation.fcn import FCNHead

resnet = NarrowResNet([1, 1, 2, 1])
backbone = IntermediateLayerGetter(resnet, {"layer3": "aux", "layer4": "out"})
save(
    "deeplab_v3_torchvision",
    DeepLabV3(backbone, DeepLabHead(256, 3), FCNHead(128, 3)),
    (97, 65),
)
save(
    "deeplab_v3_mobilenet_v3_torchvision",
    deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5, aux_loss=True),
    (33, 49),
)
save(
    "deeplab_v3_smp",
    smp.DeepLabV3("resnet18", encoder_weights=None, decoder_channels=16, classes=5),
    (64, 96),
)
