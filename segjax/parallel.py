"""Devices and hosts: one mesh, the batch sharded over it, the state replicated on it.

`jax.jit` inserts the collectives, so a step is written for the global batch and means the same on
one CPU and on a pod: gradients are of the global mean, BatchNorm sees the global batch. This is
what `jax.pmap` did, on the API that JAX now builds `pmap` from.
"""

import os
import re
import sys
import time
import traceback
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from segjax import peers
from segjax.errors import InputError, chain_of

SILENCE = 40  # seconds without a sign of life after which a process is taken for gone
PEER_LOST = (
    *("Gloo", "Connection reset by peer", "Connection closed by peer", "Socket closed"),
    *("heartbeat", "coordination service", "CoordinationService", "remote process"),
)
"""What XLA's collectives and coordination service say where another process has ended."""


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
        if coordinator is not None:
            check_coordinator(coordinator)
        if any(value is None for value in given):
            raise InputError(
                "--coordinator, --num_processes and --process_id go together: "
                f"got {coordinator!r}, {num_processes!r} and {process_id!r}."
            )
        check_process(int(num_processes or 0), int(process_id or 0))
        try:
            jax.distributed.initialize(
                coordinator, num_processes, process_id, heartbeat_timeout_seconds=SILENCE
            )
        except jax.errors.JaxRuntimeError as error:
            raise InputError(
                f"The {num_processes} processes did not all meet at the coordinator {coordinator} "
                f"({str(error).splitlines()[0]})."
            ) from error
    else:
        try:
            jax.distributed.initialize(heartbeat_timeout_seconds=SILENCE)
        except ValueError as error:
            if "coordinator_address" not in str(error):
                raise
            return  # No cluster was detected: this process is the whole run.
    if jax.process_count() > 1:
        peers.watch(jax.process_index(), jax.process_count())


def check_coordinator(coordinator: str) -> None:
    """Raise `InputError` for an address that no run can have."""
    address = re.fullmatch(r"[^\s/]+:([1-9][0-9]{0,4})", coordinator)
    if not address or int(address[1]) > 65535:
        raise InputError(f"--coordinator is host:port, such as host0:1234, not {coordinator!r}.")


def check_process(num_processes: int, process_id: int) -> None:
    """Raise `InputError` for a process that no run can have."""
    if not 0 <= process_id < num_processes:
        raise InputError(
            f"--process_id must be from 0 to below --num_processes={num_processes}, not "
            f"{process_id}."
        )


def peer_lost(error: BaseException | None) -> bool:
    """Whether an error says that another process of the run could not be reached."""
    return any(sign in str(each) for each in chain_of(error) for sign in PEER_LOST)


def end_alone(error: Exception) -> None:
    """End this process of several at once: by itself Python would wait for the others.

    Where another one is gone, JAX's service ends this one as soon as it knows which.
    """
    if peer_lost(error):
        time.sleep(2 * SILENCE)
    if isinstance(error, InputError):
        print(f"segjax: process {jax.process_index()}: {error}", file=sys.stderr)
    else:
        traceback.print_exception(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(2 if isinstance(error, InputError) else 1)


def host_device() -> Any:
    """This machine's CPU as a device, or None where JAX_PLATFORMS leaves it out."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


def memory(device: Any) -> int:
    """Bytes that a device has; processors share their machine's."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return machine // len(jax.local_devices())


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
