"""With config.dtype=bfloat16 every convolution is in bfloat16."""

import functools
import re

import jax
import jax.numpy as jnp
import pytest
from every_config.test_configs import ROOT, ZOO
from every_config.test_named_upsampler import CASES as NETWORKS
from every_config.test_variants import VARIANTS

from segjax import cli

CASES = [*NETWORKS, *((name, ZOO[name] | values) for name, values in VARIANTS)]


@pytest.mark.parametrize(("name", "values"), CASES)
def test_convolutions_are_in_the_type_of_the_config(name, values):
    module, config = cli.load_config(str(ROOT / f"configs/{name}.py"), values)
    config.dtype = "bfloat16"
    facts = {"class_names": list("abcd"), "channels": 3}
    model = module.build(config, facts).model
    side = model.input_size(224 if name == "deconvnet" else 64)
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    apply = functools.partial(model.apply, train=False)
    variables = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), image)
    jaxpr = str(jax.make_jaxpr(apply)(variables, image))
    found = re.findall(r":(\w+)\[[^\]]*\] = conv_general_dilated", jaxpr)
    # FCN's last upsampling, which makes the logits, is in float32.
    assert found.count("f32") == (name in ("fcn_alexnet", "fcn"))
    assert "bf16" in found
