"""Writes the golden files of HRNet, of width 4.

hrnet_timm: timm's, with its nearest fuse and classification head. hrnet_seg, hrnet_ocr: the
authors' segmentation networks by their own code, at odd sizes, with the conventions of its configs;
the logits are resized to the image as its lib/core does.

python tests/golden/hrnet.py CHECKOUT    (made with torch 2.13, timm 1.0.29)

CHECKOUT is https://github.com/HRNet/HRNet-Semantic-Segmentation at 0bbb288.
"""

import sys

import torch.nn.functional as F
from authors_code import load
from reference import save
from timm.models import hrnet


class Config(dict):
    """A dict whose entries are attributes too."""

    __getattr__ = dict.__getitem__


def stage(modules, branches, block, units, width):
    return Config(
        num_modules=modules,
        num_branches=branches,
        block_type=block,
        num_blocks=(units,) * branches,
        num_channels=tuple(width * 2**i for i in range(branches)),
        fuse_method="SUM",
    )


def stages():
    return {
        "stage1": stage(1, 1, "BOTTLENECK", 2, 8),
        "stage2": stage(1, 2, "BASIC", 1, 4),
        "stage3": stage(2, 3, "BASIC", 1, 4),
        "stage4": stage(1, 4, "BASIC", 1, 4),
    }


def config(classes, align_corners):
    extra = Config(FINAL_CONV_KERNEL=1)
    for name, values in stages().items():
        upper = {key.upper(): value for key, value in values.items()}
        extra[name.upper()] = Config(upper, BLOCK=upper["BLOCK_TYPE"])
    ocr = Config(MID_CHANNELS=16, KEY_CHANNELS=8)
    model = Config(EXTRA=extra, ALIGN_CORNERS=align_corners, OCR=ocr)
    return Config(MODEL=model, DATASET=Config(NUM_CLASSES=classes))


lib = sys.argv[1] + "/lib"
changes = {"np.int(": "int("}  # which numpy has no more
seg = load(lib, "models.seg_hrnet", changes)
ocr = sys.modules["models.seg_hrnet_ocr"]


class HRNetV2(seg.HighResolutionNet):
    def forward(self, image):
        x = super().forward(image)
        return F.interpolate(x, size=image.shape[2:], mode="bilinear", align_corners=False)


class OCR(ocr.HighResolutionNet):
    def forward(self, image):
        options = {"size": image.shape[2:], "mode": "bilinear", "align_corners": True}
        aux, logits = (F.interpolate(x, **options) for x in super().forward(image))
        return {"logits": logits, "aux": aux}


timm = hrnet.HighResolutionNet({"stem_width": 64, **stages()}, num_classes=10)
save("hrnet_timm", timm, (64, 96), batch=3)
save("hrnet_seg", HRNetV2(config(5, align_corners=False)), (65, 97))
save("hrnet_ocr", OCR(config(3, align_corners=True)), (57, 75))
