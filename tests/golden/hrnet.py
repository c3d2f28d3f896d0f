"""Writes the golden files of HRNet, of width 4.

hrnet_timm: timm's, with its nearest fuse and classification head. hrnet_seg, hrnet_ocr: timm's
trunk with what the authors' segmentation code puts around it, at an odd size: the branches
interpolated to one another's size, and the heads of HRNetV2 and of OCR under the authors' names.

python tests/golden/hrnet.py    (made with timm 1.0.29)
"""

from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from reference import save
from timm.models import hrnet
from torch import nn


def stage(modules, branches, block, units, width):
    return {
        "num_modules": modules,
        "num_branches": branches,
        "block_type": block,
        "num_blocks": (units,) * branches,
        "num_channels": tuple(width * 2**i for i in range(branches)),
        "fuse_method": "SUM",
    }


def config():
    return {
        "stem_width": 64,
        "stage1": stage(1, 1, "BOTTLENECK", 2, 8),
        "stage2": stage(1, 2, "BASIC", 1, 4),
        "stage3": stage(2, 3, "BASIC", 1, 4),
        "stage4": stage(1, 4, "BASIC", 1, 4),
    }


class Interpolated(hrnet.HighResolutionModule):
    """Fuses by interpolation to the exact size of the finer branch."""

    align_corners = False

    def forward(self, x):
        x = [branch(y) for branch, y in zip(self.branches, x, strict=True)]
        fused = []
        for i, layers in enumerate(self.fuse_layers):
            y = 0
            for j, layer in enumerate(layers):
                if j > i:
                    up = partial(F.interpolate, mode="bilinear", align_corners=self.align_corners)
                    y = y + up(layer[:2](x[j]), size=x[i].shape[2:])
                else:
                    y = y + layer(x[j])
            fused.append(self.fuse_act(y))
        return fused


class HRNetV2(hrnet.HighResolutionNet):
    """sum(C) -> sum(C) -> classes, by 1x1 convolutions."""

    def __init__(self, classes, align_corners, width=60):
        super().__init__(config(), head="")
        for module in self.modules():
            if isinstance(module, hrnet.HighResolutionModule):
                module.__class__ = Interpolated
                module.align_corners = align_corners
        self.up = partial(F.interpolate, mode="bilinear", align_corners=align_corners)
        self.last_layer = nn.Sequential(
            nn.Conv2d(width, width, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, classes, 1),
        )

    def maps(self, image):
        maps = self.forward_features(image)
        return torch.cat([self.up(x, size=maps[0].shape[2:]) for x in maps], 1)

    def forward(self, image):
        return self.up(self.last_layer(self.maps(image)), size=image.shape[2:])


def bn_relu(width):
    return nn.Sequential(nn.BatchNorm2d(width), nn.ReLU())


def one_by_one(*widths):
    layers = []
    for a, b in pairwise(widths):
        layers += [nn.Conv2d(a, b, 1, bias=False), bn_relu(b)]
    return nn.Sequential(*layers)


class OCR(HRNetV2):
    def __init__(self, classes, features=16, keys=8, width=60):
        super().__init__(classes, align_corners=True)
        self.aux_head = self.last_layer
        del self.last_layer
        self.conv3x3_ocr = nn.Sequential(
            nn.Conv2d(width, features, 3, padding=1), nn.BatchNorm2d(features), nn.ReLU()
        )
        self.ocr_distri_head = nn.Module()
        block = self.ocr_distri_head.object_context_block = nn.Module()
        block.f_pixel = one_by_one(features, keys, keys)
        block.f_object = one_by_one(features, keys, keys)
        block.f_down = one_by_one(features, keys)
        block.f_up = one_by_one(keys, features)
        self.ocr_distri_head.conv_bn_dropout = one_by_one(2 * features, features)
        self.cls_head = nn.Conv2d(features, classes, 1)

    def forward(self, image):
        maps = self.maps(image)
        aux = self.aux_head(maps)
        pixels = self.conv3x3_ocr(maps)
        b, _, h, w = pixels.shape
        probability = aux.flatten(2).softmax(2)  # over the pixels
        regions = (probability @ pixels.flatten(2).transpose(1, 2)).transpose(1, 2)[..., None]
        block = self.ocr_distri_head.object_context_block
        query = block.f_pixel(pixels).flatten(2).transpose(1, 2)
        key, value = block.f_object(regions)[..., 0], block.f_down(regions)[..., 0]
        attention = (query @ key * key.shape[1] ** -0.5).softmax(2)
        context = (attention @ value.transpose(1, 2)).transpose(1, 2).reshape(b, -1, h, w)
        x = torch.cat([block.f_up(context), pixels], 1)
        logits = self.cls_head(self.ocr_distri_head.conv_bn_dropout(x))
        size = image.shape[2:]
        return {"logits": self.up(logits, size=size), "aux": self.up(aux, size=size)}


save("hrnet_timm", hrnet.HighResolutionNet(config(), num_classes=10), (64, 96), batch=3)
save("hrnet_seg", HRNetV2(5, align_corners=False), (65, 97))
save("hrnet_ocr", OCR(3), (57, 75))
