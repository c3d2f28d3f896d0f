"""Devices and hosts: one mesh, the batch sharded over it, the state replicated on it.

`jax.jit` inserts the collectives, so a step is written for the global batch and means the same on
one CPU and on a pod: gradients are of the global mean, BatchNorm sees the global batch. This is
what `jax.pmap` did, on the API that JAX now builds `pmap` from.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from segjax.errors import InputError


def initialize(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Join the other processes of this run; call it before anything touches a device.

    Without arguments the cluster is detected (TPU pods, SLURM, Open MPI, Kubernetes: whatever
    `jax.distributed` knows), and a machine that belongs to none runs alone. Otherwise
    `coordinator` is 'host:port' of process 0 and all three are needed.
    """
    given = (coordinator, num_processes, process_id)
    if any(value is not None for value in given):
        if any(value is None for value in given):
            raise InputError(
                "--coordinator, --num_processes and --process_id go together: "
                f"got {coordinator!r}, {num_processes!r} and {process_id!r}."
            )
        jax.distributed.initialize(coordinator, num_processes, process_id)
        return
    try:
        jax.distributed.initialize()
    except ValueError as error:
        if "coordinator_address" not in str(error):
            raise
        # No cluster was detected: this process is the whole run.


def host_device() -> Any:
    """This machine's CPU as a device, or None where JAX_PLATFORMS leaves it out."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


def data_mesh(num_devices: int | None = None) -> Mesh:
    """One axis, 'data', over all devices of all processes, or over the first `num_devices`.

    The devices of a process are neighbours, so that the rows of a batch that it holds are one piece
    and the global batch is the same however many processes share it.
    """
    devices = jax.devices()[:num_devices]
    mesh = jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)
    ordered = sorted(mesh.devices.flat, key=lambda device: device.process_index)
    return Mesh(np.array(ordered), mesh.axis_names, axis_types=mesh.axis_types)


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def sharded(mesh: Mesh) -> NamedSharding:
    """Axis 0 is split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """The arrays on every device of the mesh; every process must hold the same."""
    return jax.jit(lambda x: x, out_shardings=replicated(mesh))(tree)


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
    """Raise `InputError` unless the global batch divides over the devices of the mesh."""
    if batch_size % mesh.size:
        raise InputError(
            f"A batch of {batch_size} examples does not divide over {mesh.size} devices: choose "
            f"a batch size that is a multiple of {mesh.size}."
        )


def shard_batch(batch: Any, mesh: Mesh) -> Any:
    """Global arrays, split over the mesh, from this process's share of a batch."""
    local = len(jax.tree.leaves(batch)[0])
    check_batch_size(local * jax.process_count(), mesh)
    place = sharded(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(place, x), batch)


def local_rows(tree: Any) -> Any:
    """numpy arrays of the rows of global arrays that live on this process, in order."""

    def rows(x: jax.Array) -> np.ndarray:
        if x.is_fully_replicated:
            return np.asarray(x)
        parts = {shard.index[0].start or 0: shard.data for shard in x.addressable_shards}
        return np.concatenate([np.asarray(parts[start]) for start in sorted(parts)])

    return jax.tree.map(rows, tree)
