"""Names and layouts of imported arrays, and what is said when they do not fit."""

import functools

import jax
import numpy as np
import pytest

from segjax.backbones.resnet import BasicBlock, Classifier, ResNet
from segjax.errors import InputError
from segjax.weights import torchvision
from segjax.weights.families import FAMILIES, recognise
from segjax.weights.keymap import KeyMap, fill, flatten, is_other_classes, to_ours


@pytest.mark.parametrize(
    ("path", "name"),
    [
        # torchvision's own names, from its resnet50 file
        ("backbone/conv1/kernel", "conv1.weight"),
        ("backbone/bn1/scale", "bn1.weight"),
        ("backbone/bn1/var", "bn1.running_var"),
        ("backbone/layer3_5/conv2/kernel", "layer3.5.conv2.weight"),
        ("backbone/layer1_0/downsample_bn/mean", "layer1.0.downsample.1.running_mean"),
        ("fc/bias", "fc.bias"),
    ],
)
def test_names_of_torchvisions_resnet(path, name):
    assert torchvision.RESNET.name(path) == name


def test_layouts():
    # Values tell where they come from: x[o, i, h, w] = 1000 o + 100 i + 10 h + w.
    o, i, h, w = np.ogrid[:2, :3, :4, :5]
    kernel = 1000 * o + 100 * i + 10 * h + w
    ours = to_ours(kernel, (4, 5, 3, 2))
    assert ours.shape == (4, 5, 3, 2)
    assert ours[3, 1, 2, 1] == 1231
    transposed = to_ours(kernel, (4, 5, 2, 3), transposed=True)  # (in, out, h, w) in torch
    assert transposed[3, 1, 1, 2] == 1231
    dense = to_ours(kernel.reshape(2, 60), (60, 2))
    assert dense[2 * 20 + 3 * 5 + 1, 1] == 1231
    # A fully connected layer after a flatten of (channels, height, width) is a convolution.
    assert to_ours(kernel.reshape(2, 60), (4, 5, 3, 2))[3, 1, 2, 1] == 1231
    assert to_ours(kernel.reshape(2, 60), (4, 5, 2, 3)).shape == (2, 60)  # (in, out) does not fit
    # And a 1x1 convolution of what was averaged is fully connected; a larger one is not.
    np.testing.assert_array_equal(to_ours(kernel[:, :, :1, :1], (3, 2)), kernel[:, :, 0, 0].T)
    assert to_ours(kernel, (60, 2)).shape == kernel.shape
    volume = np.arange(2 * 3 * 4 * 5 * 6).reshape(2, 3, 4, 5, 6)
    assert to_ours(volume, (4, 5, 6, 3, 2))[1, 2, 3, 2, 1] == volume[1, 2, 1, 2, 3]


MAP = KeyMap((("unit_(\\d)", r"units.\1"),), transposed="up/kernel", unused="^aux")


def variables(classes=5):
    return {
        "params": {
            "unit_0": {"conv": {"kernel": np.zeros((1, 2, 3, 4))}},
            "up": {"kernel": np.zeros((2, 2, 4, 3))},
            "head": {"kernel": np.zeros((3, classes)), "bias": np.ones(classes)},
        },
        "batch_stats": {"unit_0": {"norm": {"mean": np.zeros(4, np.float32)}}},
    }


def tensors(**changes):
    generator = np.random.default_rng(0)
    shapes = {
        "units.0.conv.weight": (4, 3, 1, 2),
        "up.weight": (4, 3, 2, 2),
        "head.weight": (5, 3),
        "head.bias": (5,),
        "units.0.norm.running_mean": (4,),
        "aux.weight": (7,),
    }
    shapes |= changes
    return {name: generator.normal(size=s) for name, s in shapes.items() if s is not None}


def test_everything_is_filled():
    found = tensors()
    filled, kept = fill(variables(), found, MAP)
    assert not kept
    flat = flatten(filled)
    np.testing.assert_array_equal(
        flat["params/unit_0/conv/kernel"], found["units.0.conv.weight"].transpose(2, 3, 1, 0)
    )
    np.testing.assert_array_equal(
        flat["params/up/kernel"], found["up.weight"].transpose(2, 3, 0, 1)
    )
    mean = flat["batch_stats/unit_0/norm/mean"]
    assert mean.dtype == np.float32
    np.testing.assert_allclose(mean, found["units.0.norm.running_mean"], rtol=1e-6)


def test_all_that_is_wrong_is_said_at_once():
    found = tensors(
        **{
            "units.0.conv.weight": None,
            "units.0.conv1.weight": (4, 3, 1, 2),
            "head.bias": (6,),
        }
    )
    with pytest.raises(InputError) as error:
        fill(variables(), found, MAP)
    message = str(error.value)
    assert "in 3 places" in message
    assert "missing units.0.conv.weight (1, 2, 3, 4) for params/unit_0/conv/kernel" in message
    assert "nearest: units.0.conv1.weight" in message
    assert "shape of head.bias is (6,), that of params/head/bias is (5,)" in message
    assert "unexpected units.0.conv1.weight (4, 3, 1, 2)" in message
    assert "aux" not in message


def test_a_classifier_for_other_classes_starts_anew():
    filled, kept = fill(variables(classes=2), tensors(), MAP, num_classes=2)
    assert kept == ["params/head/kernel", "params/head/bias"]
    np.testing.assert_array_equal(filled["params"]["head"]["bias"], np.ones(2))
    with pytest.raises(InputError, match="shape of head.weight"):
        fill(variables(classes=2), tensors(), MAP, num_classes=3)
    # What differs in more than the classes is a mistake.
    with pytest.raises(InputError, match="shape of head.weight"):
        fill(variables(classes=2), tensors(**{"head.weight": (5, 4)}), MAP, num_classes=2)


def test_a_part_from_a_checkpoint_of_the_whole_or_of_the_part():
    found = tensors()
    whole, _ = fill(variables(), found, MAP, under="unit_0")
    flat = flatten(whole)
    assert flat["params/unit_0/conv/kernel"].any()
    assert not flat["params/up/kernel"].any()
    part = {name.removeprefix("units.0."): x for name, x in found.items() if "units" in name}
    alone, _ = fill(variables(), part, MAP, under="unit_0")
    np.testing.assert_array_equal(
        flatten(alone)["params/unit_0/conv/kernel"], flat["params/unit_0/conv/kernel"]
    )
    with pytest.raises(InputError, match="unexpected extra.weight"):
        fill(variables(), {**part, "extra.weight": np.zeros(3)}, MAP, under="unit_0")
    with pytest.raises(InputError, match="no part 'encoder'; its parts are head, unit_0, up"):
        fill(variables(), found, MAP, under="encoder")


def test_the_family_is_recognised_by_its_names():
    block = {"conv1": {"kernel": np.zeros((3, 3, 4, 4))}}
    ours = {"params": {"backbone": {"layer1_0": block}}}
    assert recognise(ours, {"layer1.0.conv1.weight": np.zeros(1)}) == "torchvision RESNET"
    assert recognise(ours, {"backbone/layer1_0/conv1/kernel": np.zeros(1)}) == "segjax"
    assert "torchvision RESNET" in FAMILIES


def test_of_the_same_names_the_family_with_transposed_kernels():
    ours = {"params": {"upscore2": {"kernel": np.zeros((4, 4, 3, 3))}}}
    assert recognise(ours, {"upscore2.weight": np.zeros((3, 3, 4, 4))}) == "authors FCN"


def resnet_file(stage_sizes):
    """Names and shapes as torchvision's state dict of such a ResNet has them."""
    model = Classifier(ResNet(stage_sizes, BasicBlock, width=4, stem=(4,)), 7)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    shapes = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), image)
    found = {"bn1.num_batches_tracked": np.zeros(())}
    for path, x in flatten(shapes).items():
        axes = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}[x.ndim]
        shape = tuple(x.shape[i] for i in axes)
        found[torchvision.RESNET.name(path.partition("/")[2])] = np.zeros(shape)
    return found


def test_a_deeper_backbone_does_not_pass_for_a_shallower_one():
    model = ResNet((1, 1, 1, 1), BasicBlock, width=4, stem=(4,))
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    shapes = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), image)
    ours = {kind: {"backbone": tree} for kind, tree in shapes.items()}
    ours["params"]["head"] = {"kernel": np.zeros((1, 1, 32, 3))}
    fill(ours, resnet_file((1, 1, 1, 1)), torchvision.RESNET, under="backbone")
    with pytest.raises(InputError, match=r"in 10 places:\n  unexpected layer3.1.bn1.bias"):
        fill(ours, resnet_file((1, 1, 2, 1)), torchvision.RESNET, under="backbone")


def test_the_rest_of_a_whole_model_is_not_missed_by_its_part():
    found = {**tensors(), "units.0.conv.extra": np.zeros(2)}
    assert fill(variables(), tensors(), MAP, under="unit_0")
    with pytest.raises(InputError, match="unexpected units.0.conv.extra"):
        fill(variables(), found, MAP, under="unit_0")


@pytest.mark.parametrize(
    ("found", "wanted", "other"),
    [
        ((1, 1, 8, 21), (1, 1, 8, 3), True),
        ((21,), (3,), True),
        ((4, 4, 21, 21), (4, 4, 3, 3), True),  # FCN's upsampling, from classes to classes
        ((7, 7, 1, 64), (7, 7, 3, 64), False),  # a grey stem, with three classes
        ((4, 4, 21, 19), (4, 4, 3, 3), False),
        ((1, 1, 9, 21), (1, 1, 8, 3), False),
    ],
)
def test_what_counts_as_other_classes(found, wanted, other):
    assert is_other_classes(found, wanted, 3) == other


def test_names_of_no_family_are_refused():
    with pytest.raises(InputError, match="such as a.b, are of no family that has weights for"):
        recognise(variables(), {"a.b": np.zeros(1)})


def test_a_scalar_stays_a_scalar():
    ours = {"params": {"scale": np.zeros((), np.float32)}}
    filled, _ = fill(ours, {"weight": np.array(2.0)}, KeyMap())
    assert filled["params"]["scale"].shape == ()
    assert filled["params"]["scale"] == 2
