"""Names of segmentation-models-pytorch's checkpoints."""

from collections.abc import Sequence

from segjax.weights import torchvision
from segjax.weights.keymap import KeyMap

LINKNET = KeyMap(
    (
        ("^backbone/", "encoder/"),
        *torchvision.RESNET.renames,
        *((f"^decoder{5 - i}/", f"decoder/blocks/{i}/block/") for i in range(5)),
        ("block/conv1/conv$", "block/0/0"),
        ("block/conv1/norm$", "block/0/1"),
        ("block/up$", "block/1/0"),
        ("block/norm2$", "block/1/1"),
        ("block/conv3/conv$", "block/2/0"),
        ("block/conv3/norm$", "block/2/1"),
        ("^head/logits$", "segmentation_head/0"),
    ),
    transposed="/up/kernel$",
    unused="num_batches_tracked$",
)
"""Linknet with a ResNet."""

FPN = KeyMap(
    (
        ("^backbone/", "encoder/"),
        *torchvision.RESNET.renames,
        ("^neck/lateral5$", "decoder/p5"),
        (r"^neck/lateral(\d)$", r"decoder/p\1/skip_conv"),
        *((f"^p{5 - i}_", f"decoder/seg_blocks/{i}/block/") for i in range(4)),
        (r"^(decoder/seg_blocks/.*)/conv$", r"\1/block/0"),
        (r"^(decoder/seg_blocks/.*)/norm$", r"\1/block/1"),
        ("^head$", "segmentation_head/0"),
    ),
    unused="num_batches_tracked$",
)
"""FPN on a ResNet."""


_SCSE = (
    r"^decoder\.blocks\.\d+\.attention[12]\.",
    "Its decoder has scSE attention (decoder_attention_type='scse'), which no network here has: "
    "train it without, or start from a part of it, as in :backbone.",
)


def _unet(encoder: Sequence[tuple[str, str]]) -> KeyMap:
    return KeyMap(
        (
            *encoder,
            (r"^centre(\d)/conv$", r"decoder.center.\1.0"),
            (r"^centre(\d)/norm$", r"decoder.center.\1.1"),
            (r"^block(\d)_conv(\d)/conv$", r"decoder.blocks.\1.conv\2.0"),
            (r"^block(\d)_conv(\d)/norm$", r"decoder.blocks.\1.conv\2.1"),
            ("^head$", "segmentation_head.0"),
            (r"^(?!decoder\.|segmentation_head\.)", "encoder/"),
        ),
        unused=r"^encoder\.(_conv_head|_bn1)\.|num_batches_tracked$",
        refused=_SCSE,
    )


def _efficientnet(depths: Sequence[int]) -> Sequence[tuple[str, str]]:
    """The names in Melas-Kyriazi's port, which numbers the units through all stages."""
    units = [(stage, i) for stage, depth in enumerate(depths, 1) for i in range(depth)]
    return (
        ("^backbone/", ""),
        ("^features_0$", "_conv_stem"),
        ("^features_0_norm$", "_bn0"),
        *((f"^features_{stage}_{i}/", f"_blocks/{n}/") for n, (stage, i) in enumerate(units)),
        ("/expand$", "/_expand_conv"),
        ("/expand_norm$", "/_bn0"),
        ("/depthwise$", "/_depthwise_conv"),
        ("/depthwise_norm$", "/_bn1"),
        ("/squeeze/fc1$", "/_se_reduce"),
        ("/squeeze/fc2$", "/_se_expand"),
        ("/project$", "/_project_conv"),
        ("/project_norm$", "/_bn2"),
    )


UNET_RESNET = _unet(torchvision.RESNET.renames)
UNET_MOBILENET_V2 = _unet(torchvision.MOBILENET_V2.renames)
UNET_EFFICIENTNET_B0 = _unet(_efficientnet((1, 2, 2, 3, 3, 4, 1)))
UNET_EFFICIENTNET_B4 = _unet(_efficientnet((2, 4, 4, 6, 6, 8, 2)))
UNET_VGG11, UNET_VGG11_BN = _unet(torchvision.VGG11.renames), _unet(torchvision.VGG11_BN.renames)
UNET_VGG13, UNET_VGG13_BN = _unet(torchvision.VGG13.renames), _unet(torchvision.VGG13_BN.renames)
UNET_VGG16, UNET_VGG16_BN = _unet(torchvision.VGG16.renames), _unet(torchvision.VGG16_BN.renames)
UNET_VGG19, UNET_VGG19_BN = _unet(torchvision.VGG19.renames), _unet(torchvision.VGG19_BN.renames)

# The pyramid of its DeepLabs: convolutions are items 0 of a branch, separable ones two items of it.
_ASPP = (
    (r"aspp/branch(\d)/depthwise/conv$", r"aspp/convs/\1/0/0"),
    (r"aspp/branch(\d)/pointwise/conv$", r"aspp/convs/\1/0/1"),
    (r"aspp/branch(\d)/(pointwise/)?norm$", r"aspp/convs/\1/1"),
    (r"aspp/branch(\d)/conv$", r"aspp/convs/\1/0"),
    ("aspp/pool/conv$", "aspp/convs/4/1"),
    ("aspp/pool/norm$", "aspp/convs/4/2"),
    ("aspp/fuse_last/conv$", "aspp/project/0"),
    ("aspp/fuse_last/norm$", "aspp/project/1"),
    ("^head$", "segmentation_head/0"),
)

DEEPLAB_V3 = KeyMap(
    (
        ("^backbone/", "encoder/"),
        *torchvision.RESNET.renames,
        ("^context/", "decoder/aspp/"),
        *_ASPP,
        ("^conv0/conv$", "decoder/conv"),
        ("^conv0/norm$", "decoder/bn"),
    ),
    unused="num_batches_tracked$",
)
"""DeepLab v3 with a ResNet, as `deeplab_v3_torchvision` with first_unit='new', corners aligned."""

DEEPLAB_V3PLUS = KeyMap(
    (
        ("^backbone/", "encoder/"),
        *torchvision.RESNET.renames,
        *_ASPP,
        ("^aspp/", "decoder/aspp/0/"),
        ("^conv0/depthwise/conv$", "decoder/aspp/1/0"),
        ("^conv0/pointwise/conv$", "decoder/aspp/1/1"),
        ("^conv0/pointwise/norm$", "decoder/aspp/2"),
        ("^low/conv$", "decoder/block1/0"),
        ("^low/norm$", "decoder/block1/1"),
        ("^decoder0/depthwise/conv$", "decoder/block2/0/0"),
        ("^decoder0/pointwise/conv$", "decoder/block2/0/1"),
        ("^decoder0/pointwise/norm$", "decoder/block2/1"),
    ),
    unused="num_batches_tracked$",
)
"""DeepLab v3+ with a ResNet, `deeplab_v3plus_smp`."""
