"""config.model.upsample reaches every place of a decoder that upsamples."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from every_config.test_configs import ROOT, ZOO

from segjax import cli
from segjax.nn import upsample

FACTS = {"class_names": list("abcd"), "channels": 3, "scale": 1.0}
UPSAMPLERS = tuple(upsample.UPSAMPLERS.values())
ONE_RESOLUTION = {"naive_fcn", "farabet_multiscale", "pinheiro_recurrent"}
CASES = [*ZOO.items(), ("semantic_fpn", ZOO["semantic_fpn"] | {"model.pyramid": "panet"})]
CASES += [("hrnet", ZOO["hrnet"] | {"model.head": "ocr"})]
CASES += [("fcn", ZOO["fcn"] | {"model.variant": name}) for name in ("fcn16s", "fcn8s")]
CASES += [("segnet", ZOO["segnet"] | {"model.variant": "basic"})]


@pytest.mark.parametrize(("name", "values"), [x for x in CASES if x[0] not in ONE_RESOLUTION])
def test_the_upsampler_of_the_config_is_the_only_one(name, values):
    module, config = cli.load_config(str(ROOT / f"configs/{name}.py"), values)
    config.model.upsample = "resize_conv"
    model = module.build(config, FACTS).model
    side = model.input_size(224 if name == "deconvnet" else 64)
    found = set()

    def note(call, args, kwargs, context):
        if isinstance(context.module, UPSAMPLERS) and context.method_name == "__call__":
            found.add(type(context.module))
        return call(*args, **kwargs)

    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    with nn.intercept_methods(note):
        init = functools.partial(model.init, train=False)
        jax.eval_shape(init, jax.random.key(0), image)
    # DeconvNet's deconvolutions keep the size, and LinkNet's head makes the logits of two.
    others = {upsample.TransposedConv} if name in ("deconvnet", "linknet") else set()
    assert found == {upsample.ResizeConv} | others
