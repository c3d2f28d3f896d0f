"""The arrays of mmsegmentation's checkpoints: name -> shape, as its modules are built."""


def norm(name, features):
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{leaf}": (features,) for leaf in leaves}


def conv_module(name, channels, features, size, groups=1):
    """mmcv's ConvModule: a convolution without bias and its normalisation."""
    kernel = (features, channels // groups, size, size)
    return {f"{name}.conv.weight": kernel, **norm(f"{name}.bn", features)}


def separable(name, channels, features):
    """mmcv's DepthwiseSeparableConvModule."""
    return {
        **conv_module(f"{name}.depthwise_conv", channels, channels, 3, groups=channels),
        **conv_module(f"{name}.pointwise_conv", channels, features, 1),
    }


def classifier(name, channels, classes):
    return {f"{name}.weight": (classes, channels, 1, 1), f"{name}.bias": (classes,)}


def auxiliary_head(classes):
    """FCNHead with one convolution, on the third stage."""
    return {
        **conv_module("auxiliary_head.convs.0", 1024, 256, 3),
        **classifier("auxiliary_head.conv_seg", 256, classes),
    }


def resnet50_v1c():
    """ResNetV1c of depth 50 as `backbone`."""
    arrays = {}
    for i, (channels, features) in enumerate(((3, 32), (32, 32), (32, 64))):
        arrays[f"backbone.stem.{3 * i}.weight"] = (features, channels, 3, 3)
        arrays |= norm(f"backbone.stem.{3 * i + 1}", features)
    channels = 64
    for stage, units in enumerate((3, 4, 6, 3), 1):
        width = 32 * 2**stage
        for unit in range(units):
            name = f"backbone.layer{stage}.{unit}"
            arrays[f"{name}.conv1.weight"] = (width, channels, 1, 1)
            arrays[f"{name}.conv2.weight"] = (width, width, 3, 3)
            arrays[f"{name}.conv3.weight"] = (4 * width, width, 1, 1)
            for i, features in ((1, width), (2, width), (3, 4 * width)):
                arrays |= norm(f"{name}.bn{i}", features)
            if unit == 0:
                arrays[f"{name}.downsample.0.weight"] = (4 * width, channels, 1, 1)
                arrays |= norm(f"{name}.downsample.1", 4 * width)
            channels = 4 * width
    return arrays
