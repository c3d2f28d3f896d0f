"""LR-ASPP against torchvision's."""

from parity import check

from segjax.models.lraspp import lraspp
from segjax.weights import torchvision


def test_torchvisions_network():
    check("lraspp_torchvision", lraspp(5), torchvision.LRASPP)
