import subprocess
import sys

SCRIPT = """
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from segjax.losses.cross_entropy import cross_entropy
from segjax.metrics.boundary import boundary_iou
from segjax.metrics.confusion import confusion

rng = np.random.default_rng(0)
labels, guess = rng.integers(0, 3, (2, 4, 9, 11))
valid = rng.random((4, 9, 11)) < 0.6
valid[1:3] = False  # shards without a valid pixel must not weigh in the mean
logits = rng.standard_normal((4, 9, 11, 3)).astype(np.float32)

def evidence(labels, guess, valid, logits):
    both = {'label': guess}, {'label': labels}, valid
    return (
        confusion(3).stats(*both),
        boundary_iou(3).stats(*both),
        jax.value_and_grad(lambda x: cross_entropy(x, labels, valid=valid))(logits),
    )

arrays = labels, guess, valid, logits
alone = jax.jit(evidence)(*arrays)
mesh = jax.make_mesh((4,), ('data',), (AxisType.Auto,))
shared = jax.device_put(arrays, NamedSharding(mesh, PartitionSpec('data')))
assert len(shared[0].sharding.device_set) == 4
together = jax.jit(evidence)(*shared)
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), alone, together)
"""


def test_batch_over_four_devices_gives_the_same_evidence():
    code = f"import jax; jax.config.update('jax_num_cpu_devices', 4)\n{SCRIPT}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
