"""Writes ternausnet*_authors.npz, albunet*_authors.npz, linknet_authors.npz by the authors' code.

python tests/golden/ternausnet.py TERNAUSNET SURGICAL    (made with torch 2.13)

They are checkouts of https://github.com/ternaus/TernausNet at 243c7fe, and of
https://github.com/ternaus/robot-surgery-segmentation at 1d18157, with a sixteenth of the channels
and fewer units. The encoder's arrays have two names each. The logits are those before a
log-softmax.
"""

import sys
from types import SimpleNamespace

import torchvision
from authors_code import load
from narrow_resnet import narrow_resnet
from reference import save
from torch import nn
from torchvision.models.resnet import BasicBlock
from torchvision.models.vgg import make_layers

NARROW = {str(16 * n): str(n) for n in (32, 16, 8, 4)}
VGG11 = [4, "M", 8, "M", 16, 16, "M", 32, 32, "M", 32, 32, "M"]
VGG16 = [4, 4, "M", 8, 8, "M", 16, 16, 16, "M", 32, 32, 32, "M", 32, 32, 32, "M"]


def resnet34(pretrained):
    net = narrow_resnet(BasicBlock, (1, 2, 1, 1), 4)
    net.fc = nn.Linear(32, 10)
    return net


networks = torchvision.models
networks.vgg11 = lambda pretrained: SimpleNamespace(features=make_layers(VGG11))
networks.vgg16 = lambda pretrained: SimpleNamespace(features=make_layers(VGG16))
networks.resnet34 = resnet34

ternausnet = load(sys.argv[1], "ternausnet.models", NARROW)
surgical = load(sys.argv[2], "models", NARROW)
surgical.F = SimpleNamespace(log_softmax=lambda logits, dim: logits)

save("ternausnet11_authors", ternausnet.UNet11(num_filters=2), (64, 32), batch=3)
save("ternausnet16_authors", ternausnet.UNet16(3, num_filters=2), (32, 64))
transposed = ternausnet.UNet16(3, num_filters=2, is_deconv=True)
save("ternausnet16_transposed_authors", transposed, (64, 32))
save("ternausnet11_surgical_authors", surgical.UNet11(3, num_filters=2), (32, 64))
save("albunet_authors", surgical.AlbuNet(3, num_filters=2), (64, 128))
albunet = surgical.AlbuNet(3, num_filters=2, is_deconv=True)
save("albunet_transposed_authors", albunet, (128, 64))
save("linknet_authors", surgical.LinkNet34(3, pretrained=False), (64, 32))
