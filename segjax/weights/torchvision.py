"""Names of torchvision's checkpoints."""

from segjax.weights.keymap import KeyMap

# What its ResNets are called, alone or inside another model.
_RESNET = (
    (r"layer(\d)_(\d+)", r"layer\1.\2"),
    ("downsample_conv", "downsample.0"),
    ("downsample_bn", "downsample.1"),
)

RESNET = KeyMap((*_RESNET, ("^backbone/", "")), unused=r"^fc\.|num_batches_tracked$")

# Convolution and normalisation are items 0 and 1 of a block.
_PAIRS = (
    (r"(features_\d+|expand|depthwise|project|head)$", r"\1.0"),
    (r"(features_\d+|expand|depthwise|project|head)_norm$", r"\1.1"),
)

# Units whose steps are numbered: the first has no expansion, and not all of v3 are gated.
_MOBILENET_V2 = (
    (r"(features_\d+|expand|depthwise)$", r"\1.0"),
    (r"(features_\d+|expand|depthwise)_norm$", r"\1.1"),
    ("features_1/depthwise", "features_1/conv.0"),
    ("features_1/project_norm", "features_1/conv.2"),
    ("features_1/project", "features_1/conv.1"),
    ("expand", "conv.0"),
    ("depthwise", "conv.1"),
    ("project_norm", "conv.3"),
    ("project", "conv.2"),
)
_MOBILENET_V3_LARGE = (
    *_PAIRS,
    ("features_1/depthwise", "features_1/block.0"),
    ("features_1/project", "features_1/block.1"),
    ("expand", "block.0"),
    ("depthwise", "block.1"),
    ("squeeze", "block.2"),
    (r"(features_([456]|1[1-5]))/project", r"\1/block.3"),
    ("project", "block.2"),
)
_MOBILENET_V3_SMALL = (
    *_PAIRS,
    ("features_1/depthwise", "features_1/block.0"),
    ("features_1/squeeze", "features_1/block.1"),
    ("features_1/project", "features_1/block.2"),
    ("expand", "block.0"),
    ("depthwise", "block.1"),
    ("squeeze", "block.2"),
    (r"(features_[23])/project", r"\1/block.2"),
    ("project", "block.3"),
)
_FEATURES = (("features_", "features."), ("^backbone/", ""))
_V3_HEAD = (("^fc1$", "classifier.0"), ("^fc2$", "classifier.3"))
_NO_HEAD = r"^classifier\.|num_batches_tracked$"

MOBILENET_V2 = KeyMap((*_MOBILENET_V2, *_FEATURES, ("^fc$", "classifier.1")), unused=_NO_HEAD)
MOBILENET_V3_LARGE = KeyMap((*_MOBILENET_V3_LARGE, *_FEATURES, *_V3_HEAD), unused=_NO_HEAD)
MOBILENET_V3_SMALL = KeyMap((*_MOBILENET_V3_SMALL, *_FEATURES, *_V3_HEAD), unused=_NO_HEAD)

EFFICIENTNET = KeyMap(
    (
        *_PAIRS,
        (r"features_(\d)_(\d+)/", r"features.\1.\2.block/"),
        (r"(features\.1\..*)/depthwise", r"\1/0"),
        (r"(features\.1\..*)/squeeze", r"\1/1"),
        (r"(features\.1\..*)/project", r"\1/2"),
        ("expand", "0"),
        ("depthwise", "1"),
        ("squeeze", "2"),
        ("project", "3"),
        ("^head", "features.8"),
        *_FEATURES,
        ("^fc$", "classifier.1"),
    ),
    unused=r"^features\.8\.|^classifier\.|num_batches_tracked$",
)


def _vgg(depths: tuple[int, ...], batch_norm: bool) -> KeyMap:
    """The names of a VGG: `features` counts convolutions, normalisations, ReLUs and pools.

    timm's VGGs have the same; their classifier, `pre_logits` and `head`, has names of its own.
    """
    renames, index = [("^backbone/", "")], 0
    for stage, depth in enumerate(depths, 1):
        for i in range(1, depth + 1):
            renames.append((f"^conv{stage}_{i}$", f"features.{index}"))
            renames.append((f"^bn{stage}_{i}$", f"features.{index + 1}"))
            index += 3 if batch_norm else 2
        index += 1
    renames += [("^fc6$", "classifier.0"), ("^fc7$", "classifier.3"), ("^fc8$", "classifier.6")]
    return KeyMap(renames, unused=r"^(classifier|pre_logits|head)\.|num_batches_tracked$")


VGG11, VGG11_BN = (_vgg((1, 1, 2, 2, 2), norm) for norm in (False, True))
VGG13, VGG13_BN = (_vgg((2, 2, 2, 2, 2), norm) for norm in (False, True))
VGG16, VGG16_BN = (_vgg((2, 2, 3, 3, 3), norm) for norm in (False, True))
VGG19, VGG19_BN = (_vgg((2, 2, 4, 4, 4), norm) for norm in (False, True))

ALEXNET = KeyMap(
    (
        ("^backbone/", ""),
        ("^conv1$", "features.0"),
        ("^conv2$", "features.3"),
        ("^conv3$", "features.6"),
        ("^conv4$", "features.8"),
        ("^conv5$", "features.10"),
        ("^fc6$", "classifier.1"),
        ("^fc7$", "classifier.4"),
        ("^fc8$", "classifier.6"),
    ),
    unused=r"^classifier\.",
)

_FPN = tuple(
    (f"^neck/{ours}{level}$", f"backbone/fpn/{theirs}/{level - 2}/0")
    for level in (2, 3, 4, 5)
    for ours, theirs in (("lateral", "inner_blocks"), ("output", "layer_blocks"))
)
RESNET_FPN = KeyMap(
    (*_RESNET, ("^backbone/", "backbone/body/"), *_FPN),
    unused=r"^(rpn|roi_heads|head)\.|num_batches_tracked$",
)
"""The backbone and the pyramid of detectors."""

# The heads of its segmentation networks, behind the names of their backbone.
_FCN_HEADS = (
    ("^head/", "classifier/"),
    ("^aux/", "aux_classifier/"),
    ("classifier/conv/conv$", "classifier/0"),
    ("classifier/conv/norm$", "classifier/1"),
    ("classifier/logits$", "classifier/4"),
)
_DEEPLAB_HEADS = (
    (r"^context/branch(\d)/conv$", r"classifier/0/convs/\1/0"),
    (r"^context/branch(\d)/norm$", r"classifier/0/convs/\1/1"),
    ("^context/pool/conv$", "classifier/0/convs/4/1"),
    ("^context/pool/norm$", "classifier/0/convs/4/2"),
    ("^context/fuse_last/conv$", "classifier/0/project/0"),
    ("^context/fuse_last/norm$", "classifier/0/project/1"),
    ("^conv0/conv$", "classifier/1"),
    ("^conv0/norm$", "classifier/2"),
    (r"^head(\.0)?$", "classifier/4"),
    *_FCN_HEADS,
)
_NO_AUX = r"^aux_classifier\.|num_batches_tracked$"

FCN = KeyMap((*_RESNET, *_FCN_HEADS), unused=_NO_AUX)
DEEPLAB_V3 = KeyMap((*_RESNET, *_DEEPLAB_HEADS), unused=_NO_AUX)
DEEPLAB_V3_MOBILENET_V3 = KeyMap(
    (*_MOBILENET_V3_LARGE, ("^backbone/features_", "backbone/"), *_DEEPLAB_HEADS), unused=_NO_AUX
)
LRASPP = KeyMap(
    (
        *_MOBILENET_V3_LARGE,
        ("^backbone/features_", "backbone/"),
        ("^cbr/conv$", "classifier/cbr/0"),
        ("^cbr/norm$", "classifier/cbr/1"),
        ("^scale$", "classifier/scale/1"),
        ("^(low|high)_classifier$", r"classifier/\1_classifier"),
    ),
    unused="num_batches_tracked$",
)
