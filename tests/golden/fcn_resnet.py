"""Writes fcn_resnet_torchvision.npz: torchvision's FCN on a small ResNet.

python tests/golden/fcn_resnet.py    (made with torchvision 0.28)
"""

from narrow_resnet import NarrowResNet
from reference import save
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation.fcn import FCN, FCNHead

resnet = NarrowResNet([1, 1, 2, 1])
backbone = IntermediateLayerGetter(resnet, {"layer3": "aux", "layer4": "out"})
save("fcn_resnet_torchvision", FCN(backbone, FCNHead(256, 3), FCNHead(128, 3)), (49, 33), batch=3)
