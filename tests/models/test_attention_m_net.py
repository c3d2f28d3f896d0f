"""The attention U-Net with an image pyramid against a torch transcription of the authors' code."""

import jax
import jax.numpy as jnp
import pytest
from parity import check

from segjax.errors import InputError
from segjax.models.attention_m_net import AttentionMNet
from segjax.weights.keymap import KeyMap


def test_equals_torch():
    keymap = KeyMap(transposed=r"\bup\d/|phi_up/", unused="num_batches_tracked")
    outputs = {"logits": "final", "pred1": "pred1", "pred2": "pred2", "pred3": "pred3"}
    check("attention_m_net_torch", AttentionMNet(2, width=2), keymap, outputs)


def test_the_layer_table():
    def block(size, a, b):  # a convolution with a bias, and a normalisation
        return size**2 * a * b + b + 2 * b

    def pair(a, b):
        return block(3, a, b) + block(3, b, b)

    def gate(skip, signal, features):
        theta = 4 * skip * features + features
        phi = signal * features + features + 9 * features * features + features
        return theta + phi + (features + 1) + block(1, skip, skip)

    encoder = pair(3, 32) + pair(96, 64) + pair(192, 128) + pair(384, 64) + pair(64, 512)
    pyramid = sum(27 * b + b for b in (64, 128, 256))
    signals = block(1, 512, 512) + 2 * block(1, 96, 96)
    gates = gate(64, 512, 128) + gate(128, 96, 64) + gate(64, 96, 32)
    ups = sum(9 * a * b + b for a, b in ((512, 32), (96, 64), (192, 32), (96, 32)))
    decoder = pair(96, 256) + pair(192, 128) + pair(96, 64) + pair(64, 32)
    heads = 257 + 129 + 65 + 33
    # the count in the table of models
    assert encoder + pyramid + signals + gates + ups + decoder + heads == 5_640_103


def test_sizes():
    model = AttentionMNet(1)
    assert model.input_size(100) == 112
    assert model.output_size(112) == 112
    with pytest.raises(InputError, match="a side of 24 is no multiple of 16"):
        model.init(jax.random.key(0), jnp.zeros((1, 24, 32, 3)), train=False)
