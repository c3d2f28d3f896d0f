"""Names of torchvision's checkpoints."""

from segjax.weights.keymap import KeyMap

# What its ResNets are called, alone or inside another model.
_RESNET = (
    (r"layer(\d)_(\d+)", r"layer\1.\2"),
    ("downsample_conv", "downsample.0"),
    ("downsample_bn", "downsample.1"),
)

RESNET = KeyMap((*_RESNET, ("^backbone/", "")), unused=r"^fc\.|num_batches_tracked$")
