"""Times whole networks, forward and a training step, in segjax and in PyTorch, and prints a table.

    python benchmarks/networks.py --python-torch /path/to/bin/python
    python benchmarks/networks.py --python-torch PATH --cores 2 --cases deeplab_v3_256 --modes train

    deeplab_v3_256, deeplab_v3_513   DeepLab v3, ResNet-50, output stride 8, against torchvision's
    pspnet_473                       PSPNet, ResNet-50, output stride 8, on torchvision's layers
    hrnet_w18_512                    HRNetV2-W18, against timm's trunk and the authors' head

21 classes, random weights of equal number, checked. `forward` is evaluation in float32,
`forward_bf16` in bfloat16, `train` is forward, cross-entropy, backward and one SGD update with
momentum, in float32. `torch channels_last` and `torch` (its default layout) run eagerly; in
bfloat16 all their weights are bfloat16. The workers alternate; every figure is a median.
"""

import os
import sys
import time

import harness

WORKERS = ("segjax", "torch channels_last", "torch")
# name: side, batch, parameters
CASES = {
    "deeplab_v3_256": (256, 4, 39_638_869),
    "deeplab_v3_513": (513, 2, 39_638_869),
    "pspnet_473": (473, 2, 46_716_373),
    "hrnet_w18_512": (512, 2, 9_641_661),
}
MODES = ("forward", "forward_bf16", "train")


def build_segjax(case, mode):
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from segjax.backbones import hrnet
    from segjax.backbones.resnet import resnet50
    from segjax.losses.cross_entropy import cross_entropy
    from segjax.models.deeplab_v3 import deeplab_v3_torchvision
    from segjax.models.hrnet import HRNetV2
    from segjax.models.pspnet import pspnet50
    from segjax.tasks.fit import init_variables

    side, batch, parameters = CASES[case]
    dtype = jnp.bfloat16 if mode == "forward_bf16" else None
    if case.startswith("deeplab"):
        net = deeplab_v3_torchvision(resnet50, 21, auxiliary=None, dtype=dtype)
    elif case.startswith("pspnet"):
        net = pspnet50(21, auxiliary=None, dtype=dtype)
    else:
        net = HRNetV2(21, hrnet.hrnet_w18(dtype=dtype), dtype=dtype)
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.standard_normal((batch, side, side, 3), np.float32))
    label = jnp.asarray(rng.integers(0, 21, (batch, side, side)))
    begin = time.perf_counter()
    variables = init_variables(net, jax.random.key(0), image)
    jax.block_until_ready(variables)
    print(f"{case}: initialisation {time.perf_counter() - begin:.1f} s", file=sys.stderr)
    params = variables.pop("params")
    assert sum(p.size for p in jax.tree.leaves(params)) == parameters
    key = jax.random.key(0)

    @jax.jit
    def forward(params, state, image):
        return net.apply({"params": params, **state}, image, train=False)["logits"]

    def loss_of(params, state, image, label):
        out, state = net.apply(
            {"params": params, **state},
            image,
            train=True,
            mutable=list(state),
            rngs={"dropout": key},
        )
        return cross_entropy(out["logits"], label), state

    tx = optax.sgd(1e-3, momentum=0.9)

    def update(params, state, opt_state, image, label):
        (loss, state), grads = jax.value_and_grad(loss_of, has_aux=True)(
            params, state, image, label
        )
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), state, opt_state, loss

    begin = time.perf_counter()
    if mode == "train":
        training = params, variables, tx.init(params)
        step = jax.jit(update, donate_argnums=(0, 1, 2)).lower(*training, image, label).compile()
    else:
        evaluate = forward.lower(params, variables, image).compile()
    print(f"{case} {mode}: compiled in {time.perf_counter() - begin:.1f} s", file=sys.stderr)

    def run():
        nonlocal training
        if mode == "train":
            *training, loss = step(*training, image, label)
            jax.block_until_ready(training)
            assert np.isfinite(loss)
        else:
            jax.block_until_ready(evaluate(params, variables, image))

    return run


def build_torch(case, mode, channels_last=False):
    import torch
    from torch import nn
    from torch.nn import functional as F
    from torchvision.models.resnet import resnet50
    from torchvision.models.segmentation import deeplabv3_resnet50

    torch.set_num_threads(int(os.environ["HARNESS_CORES"]))
    side, batch, parameters = CASES[case]

    def block(cin, cout, k=1, stride=1, bias=False):
        conv = nn.Conv2d(cin, cout, k, stride, k // 2, bias=bias)
        return nn.Sequential(conv, nn.BatchNorm2d(cout), nn.ReLU(inplace=True))

    class PSPNet(nn.Module):
        def __init__(self):
            super().__init__()
            net = resnet50(replace_stride_with_dilation=[False, True, True])
            stem = [block(3, 64, 3, 2), block(64, 64, 3), block(64, 128, 3)]
            net.layer1[0].conv1 = nn.Conv2d(128, 64, 1, bias=False)
            net.layer1[0].downsample[0] = nn.Conv2d(128, 256, 1, bias=False)
            stages = [net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4]
            self.trunk = nn.Sequential(*stem, *stages)
            self.ppm = nn.ModuleList(
                nn.Sequential(nn.AdaptiveAvgPool2d(n), block(2048, 512)) for n in (1, 2, 3, 6)
            )
            self.head = nn.Sequential(block(4096, 512, 3), nn.Dropout2d(0.1))
            self.cls = nn.Conv2d(512, 21, 1)

        def forward(self, image):
            x = self.trunk(image)
            size = x.shape[2:]
            pools = [
                F.interpolate(p(x), size, mode="bilinear", align_corners=True) for p in self.ppm
            ]
            x = self.cls(self.head(torch.cat([x, *pools], 1)))
            return F.interpolate(x, image.shape[2:], mode="bilinear", align_corners=True)

    class HRNet(nn.Module):
        def __init__(self):
            super().__init__()
            import timm

            self.trunk = timm.create_model("hrnet_w18", pretrained=False, num_classes=0)
            for name in ("incre_modules", "downsamp_modules", "final_layer"):
                setattr(self.trunk, name, nn.Identity())
            self.head = nn.Sequential(block(270, 270, bias=True), nn.Conv2d(270, 21, 1))

        def forward(self, image):
            net = self.trunk
            x = net.act2(net.bn2(net.conv2(net.act1(net.bn1(net.conv1(image))))))
            y = net.stages(x)
            size = y[0].shape[2:]
            up = [F.interpolate(b, size, mode="bilinear", align_corners=False) for b in y[1:]]
            x = self.head(torch.cat([y[0], *up], 1))
            return F.interpolate(x, image.shape[2:], mode="bilinear", align_corners=False)

    layout = torch.channels_last if channels_last else torch.contiguous_format
    torch.manual_seed(0)
    if case.startswith("deeplab"):
        net = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=21)
    else:
        net = PSPNet() if case.startswith("pspnet") else HRNet()
    assert sum(p.numel() for p in net.parameters()) == parameters
    dtype = torch.bfloat16 if mode == "forward_bf16" else torch.float32
    net = net.to(dtype=dtype, memory_format=layout)
    image = torch.randn(batch, 3, side, side).to(dtype=dtype, memory_format=layout)
    label = torch.randint(0, 21, (batch, side, side))

    def logits(image):
        out = net(image)
        return out["out"] if isinstance(out, dict) else out

    if mode != "train":
        net.eval()

        def forward():
            with torch.inference_mode():
                logits(image)

        return forward

    optimizer = torch.optim.SGD(net.parameters(), 1e-3, momentum=0.9)

    def step():
        optimizer.zero_grad()
        loss = F.cross_entropy(logits(image), label)
        loss.backward()
        optimizer.step()
        assert loss.isfinite()

    return step


def build_torch_channels_last(case, mode):
    return build_torch(case, mode, channels_last=True)


def main():
    parser = harness.parser(__doc__)
    parser.add_argument("--cases", choices=CASES, nargs="+", default=list(CASES))
    parser.add_argument("--modes", choices=MODES, nargs="+", default=list(MODES))
    args = parser.parse_args()
    if args.worker:
        harness.serve(globals()["build_" + args.worker.replace(" ", "_")])
        return
    pythons = {n: args.python_torch if "torch" in n else sys.executable for n in WORKERS}
    rows = []
    with harness.start(__file__, pythons, args.cores, args.default_allocator) as workers:
        for case in args.cases:
            for mode in args.modes:
                seconds = harness.compare(workers, {"case": case, "mode": mode}, args.rounds)
                ours, last, default = (seconds[name] for name in WORKERS)
                times = [f"{1000 * s:.0f}" for s in (ours, last, default)]
                rows.append((case, mode, *times, ours / last, ours / default))
                print(*rows[-1], file=sys.stderr)
    header = ("network", "mode", *(f"{name} ms" for name in WORKERS), "/ channels_last", "/ torch")
    print(harness.table(header, rows))
    packages = ("jax", "flax", "torch", "torchvision", "timm")
    print(harness.hardware(args.cores), harness.versions(pythons.values(), packages))


if __name__ == "__main__":
    main()
