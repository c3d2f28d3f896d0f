"""Writes encoder_unet_*_smp.npz: segmentation-models' U-Net with each kind of encoder.

The VGGs deeper than 11 have a sixteenth of the channels. Of a U-Net with scSE attention the names.

cd tests/golden && python encoder_unet.py    (made with segmentation_models_pytorch 0.6.0)
"""

import json

import numpy as np
import segmentation_models_pytorch as smp
from reference import save
from segmentation_models_pytorch.encoders import efficientnet

# The names and shapes of a published network, the deepest of those in the table.
state = smp.Unet("efficientnet-b4", encoder_weights=None).state_dict()
shapes = {name: list(x.shape) for name, x in state.items()}
np.savez_compressed("encoder_unet_names_smp.npz", shapes=np.array(json.dumps(shapes)))
state = smp.Unet("resnet18", encoder_weights=None, decoder_attention_type="scse").state_dict()
shapes = {name: list(x.shape) for name, x in state.items()}
np.savez_compressed("encoder_unet_scse_smp.npz", shapes=np.array(json.dumps(shapes)))

# EfficientNets half as wide and b4 with the units of b0: with the weights of these files deeper
# ones amplify rounding. Narrower, two stages would agree in width, and this port has no shortcut
# from one stage to the next even then.
parameters = efficientnet.get_model_params


def narrow(name, override_params):
    blocks, parameters_ = parameters(name, override_params)
    return blocks, parameters_._replace(width_coefficient=0.5, depth_coefficient=1.0)


efficientnet.get_model_params = narrow
for name in ("efficientnet-b0", "efficientnet-b4"):
    smp.encoders.encoders[name]["params"] |= {
        "out_channels": [3, 16, 16, 24, 56, 160],
        "out_indexes": [2, 4, 8, 15],
    }

for encoder in ("resnet18", "efficientnet-b0", "efficientnet-b4", "mobilenet_v2", "vgg11_bn"):
    net = smp.Unet(encoder, encoder_weights=None, decoder_channels=(8, 8, 8, 8, 4), classes=3)
    save(f"encoder_unet_{encoder}_smp", net, (64, 32), batch=1)

for depth in (13, 16, 19):
    for name in (f"vgg{depth}", f"vgg{depth}_bn"):
        options = smp.encoders.encoders[name]["params"]
        config = [x if x == "M" else x // 16 for x in options["config"]]
        options |= {"config": config, "out_channels": [4, 8, 16, 32, 32, 32]}
        net = smp.Unet(name, encoder_weights=None, decoder_channels=(8, 8, 8, 8, 4), classes=3)
        save(f"encoder_unet_{name}_smp", net, (32, 64), batch=2)
