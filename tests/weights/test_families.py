"""docs/weights.md: it lists every family, and its configs are filled by checkpoints of them."""

import pydoc
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from every_config.test_configs import ROOT, ZOO
from golden.weights import deterministic
from parity import GOLDEN, state_dict

from segjax import cli, transfer
from segjax.models.deeplab_v3 import deeplab_v3_resnet50
from segjax.weights.families import FAMILIES, recognise
from segjax.weights.keymap import fill, flatten, within

PAGE = (ROOT / "docs/weights.md").read_text()
ROWS = re.findall(r"^\| `([\w ]+)` \| .* \| `(.*)` \|$", PAGE, re.M)
COMMANDS = [row for row in ROWS if row[1].startswith("configs/")]
COMMANDS += [
    (
        "authors UNET_MILESIAL",
        "configs/unet.py --config.model.variant=bilinear --config.model.depth=4"
        " --config.init_from=FILE",
    ),
    (
        "authors ALBUNET34",
        "configs/ternausnet.py --config.model.variant=albunet34_transposed --config.init_from=FILE",
    ),
]
TINY = ZOO | {"deconvnet": {"model.width": 8, "model.hidden": 8}, "unet": {"model.width": 2}}


def theirs(path, x, keymap):
    """Our array in the layout of the family's file."""
    if keymap.layout == "channels_last" or x.ndim < 2:
        return x
    swapped = keymap.transposed and re.search(keymap.transposed, path)
    return np.moveaxis(x, (-2, -1) if swapped else (-1, -2), (0, 1))


def test_every_family_is_listed_once():
    assert sorted(family for family, _ in ROWS) == sorted(FAMILIES)
    for _, where in ROWS:
        assert where.startswith("configs/") or pydoc.locate(where), where


@pytest.mark.parametrize(("family", "command"), COMMANDS)
def test_a_config_takes_the_family(family, command):
    path, *flags = command.split()
    given = dict(flag.removeprefix("--config.").split("=") for flag in flags)
    file, parts = transfer.split(given.pop("init_from"))
    assert file == "FILE"
    given.pop("model.width", None)
    depth = {"model.depth": int(given.pop("model.depth"))} if "model.depth" in given else {}
    module, config = cli.load_config(str(ROOT / path), TINY[path[8:-3]] | given | depth)
    model = module.build(config, {"class_names": list("abcd"), "channels": 3}).model
    side = model.input_size(224 if "deconvnet" in path else 64)
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    variables = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), image)
    keymap, wanted, tensors = FAMILIES[family], {}, {}
    for name, x in flatten(variables).items():
        if any(within(name, part) for part in parts):
            inner = name.partition("/")[2]
            wanted[name] = deterministic(name, x.shape)
            tensors[keymap.name(inner)] = theirs(inner, wanted[name], keymap)
    assert len(tensors) == len(wanted)
    for part in parts:
        assert recognise(variables, tensors, part) == family
        variables, kept = fill(variables, tensors, keymap, num_classes=4, under=part)
        assert not kept
    filled = flatten(variables)
    for name, x in wanted.items():
        np.testing.assert_array_equal(filled[name], x)


@pytest.mark.parametrize(
    ("golden", "family"),
    [
        ("albunet_authors", "authors ALBUNET34"),  # its encoder has more names in common with smp's
        ("hrnet_timm", "timm HRNET"),
        ("encoder_unet_efficientnet-b0_smp", "smp UNET_RESNET"),
    ],
)
def test_of_a_file_that_does_not_fit_the_nearest_family_is_named(golden, family):
    """By the share of its names that the family explains, not by the count of the model's."""
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    init = partial(deeplab_v3_resnet50(3).init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), image)
    assert recognise(variables, state_dict(np.load(GOLDEN / f"{golden}.npz"))) == family
