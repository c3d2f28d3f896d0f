"""Names of mmsegmentation's checkpoints."""

from segjax.weights import torchvision
from segjax.weights.keymap import KeyMap

# A ResNet-v1c, whose stem counts its ReLUs, and heads of convolutions with normalisation.
_RESNET_V1C = (
    *((f"^backbone/conv{i}$", f"backbone/stem/{3 * i - 3}") for i in (1, 2, 3)),
    *((f"^backbone/bn{i}$", f"backbone/stem/{3 * i - 2}") for i in (1, 2, 3)),
    *torchvision._RESNET,
)
_AUXILIARY = (
    ("^aux/conv/", "auxiliary_head/convs/0/"),
    ("^aux/logits$", "auxiliary_head/conv_seg"),
    ("/norm$", "/bn"),
)
_ASPP = (
    (r"^(aspp|context)/branch(\d)/", r"decode_head/aspp_modules/\2/"),
    ("^(aspp|context)/pool/", "decode_head/image_pool/1/"),
    ("^(aspp|context)/fuse_first/", "decode_head/bottleneck/"),
    ("^head$", "decode_head/conv_seg"),
)
_NO_AUXILIARY = r"^auxiliary_head\.|num_batches_tracked$"

PSPNET = KeyMap(
    (
        *_RESNET_V1C,
        (r"^pyramid/level(\d)/", r"decode_head/psp_modules/\1/1/"),
        ("^head/conv/", "decode_head/bottleneck/"),
        ("^head/logits$", "decode_head/conv_seg"),
        *_AUXILIARY,
    ),
    unused=_NO_AUXILIARY,
)
DEEPLAB_V3 = KeyMap((*_RESNET_V1C, *_ASPP, *_AUXILIARY), unused=_NO_AUXILIARY)
DEEPLAB_V3PLUS = KeyMap(
    (
        *_RESNET_V1C,
        *_ASPP,
        ("^low/", "decode_head/c1_bottleneck/"),
        (r"^decoder(\d)/", r"decode_head/sep_bottleneck/\1/"),
        ("/(depthwise|pointwise)/", r"/\1_conv/"),
        *_AUXILIARY,
    ),
    unused=_NO_AUXILIARY,
)
