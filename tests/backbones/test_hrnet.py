"""HRNet against timm's, and the sizes and counts of the paper's networks."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import GOLDEN, check, state_dict

from segjax.backbones import hrnet
from segjax.backbones.hrnet import Classifier, HRNet
from segjax.errors import InputError
from segjax.models.hrnet import HRNetV2
from segjax.nn.layers import Conv
from segjax.nn.upsample import Nearest
from segjax.weights import timm
from segjax.weights.keymap import fill, flatten

small = functools.partial(HRNet, 4, stage1=(2, 8), modules=(1, 2, 1), units=1)


def shapes(model, *size, batch=1):
    image = jax.ShapeDtypeStruct((batch, *size, 3), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    return jax.eval_shape(init, jax.random.key(0), image)


def test_timms_classifier():
    check("hrnet_timm", Classifier(small(upsample=Nearest), 10), timm.HRNET)


def test_a_classifier_fills_the_trunk_of_a_segmentation_network():
    checkpoint = state_dict(np.load(GOLDEN / "hrnet_timm.npz"))
    _, variables = shapes(HRNetV2(3, small()), 64, 96)
    filled, kept = fill(variables, checkpoint, timm.HRNET, under="backbone")
    assert not kept
    arrays = [x for path, x in flatten(filled).items() if "/backbone/" in path]
    assert all(isinstance(x, np.ndarray) for x in arrays)
    ours = filled["params"]["backbone"]["stage3_1"]["fuse_layers_2_0_1"]["conv"]["kernel"]
    theirs = checkpoint["stage3.1.fuse_layers.2.0.1.0.weight"]
    np.testing.assert_array_equal(ours, theirs.transpose(2, 3, 1, 0))


def test_sizes_of_w48():
    # HRNet-W48 on 512 x 1024: branches of 48, 96, 192, 384 at 1/4 to 1/32.
    maps, _ = shapes(hrnet.hrnet_w48(), 512, 1024)
    assert {name: x.shape[1:] for name, x in maps.items()} == {
        "c1": (256, 512, 64),
        "c2": (128, 256, 48),
        "c3": (64, 128, 96),
        "c4": (32, 64, 192),
        "c5": (16, 32, 384),
    }


def test_sizes_round_up():
    maps, _ = shapes(small(), 65, 97, batch=3)
    sizes = {name: x.shape[:3] for name, x in maps.items()}
    assert sizes == {
        "c1": (3, 33, 49),
        "c2": (3, 17, 25),
        "c3": (3, 9, 13),
        "c4": (3, 5, 7),
        "c5": (3, 3, 4),
    }


class Pose(nn.Module):
    """The pose network: a 1x1 convolution to heatmaps on the finest branch."""

    backbone: nn.Module

    @nn.compact
    def __call__(self, image, *, train):
        return Conv(17, (1, 1), name="final_layer")(self.backbone(image, train=train)["c2"])


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (hrnet.hrnet_w18, 9_318_215),
        (hrnet.hrnet_w32, 28_536_113),
        (hrnet.hrnet_w48, 63_595_745),
    ],
)
def test_pose_networks_end_in_the_finest_branch(make, count):
    heatmaps, variables = shapes(Pose(make(upsample=Nearest, outputs=1)), 256, 192)
    assert heatmaps.shape == (1, 64, 48, 17)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == count


@pytest.mark.parametrize("modules", [(1, 1), (1, 1, 1, 1), (1, 0, 1)])
def test_another_number_of_stages_is_refused(modules):
    with pytest.raises(InputError, match="modules is .* three numbers of at least 1, those of"):
        shapes(small(modules=modules), 64, 64)


def test_another_number_of_outputs_is_refused():
    with pytest.raises(InputError, match="outputs is 5; an HRNet has 1 to 4"):
        shapes(small(outputs=5), 64, 64)
