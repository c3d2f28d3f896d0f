"""Save and restore a run with orbax: written in the background, taken for good only when whole.

A checkpoint is a directory named by its step. Orbax writes it under another name and renames it
when it is complete, so one cut off half-way is never seen. Beside the arrays lie their checksums,
since the array files themselves do not notice a flipped bit.
"""

import contextlib
import json
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import SingleDeviceSharding
from orbax.checkpoint import checkpoint_managers as policies

from segjax import parallel
from segjax.core import TrainState, Variables
from segjax.errors import InputError, chain_of, disk_full

LACKING = (
    *("RESOURCE_EXHAUSTED", "Cannot allocate memory"),
    *("Permission denied", "Too many open files"),
)


class DamagedCheckpointError(Exception):
    """A checkpoint whose files are missing, cut off or altered."""


class Checkpoints:
    """The checkpoints of one run: the last two and the best.

    `best` names the figure of the first evaluated split that decides (higher is better; '-name':
    lower is better). `say` gets one sentence for each damaged checkpoint that is passed over.
    """

    def __init__(
        self, directory: str | Path, best: str = "", *, say: Callable[[str], None] = print
    ) -> None:
        self.directory, self.say = Path(directory).absolute(), say
        sign, name = (-1, best[1:]) if best.startswith("-") else (1, best)

        def score(figures: dict[str, float]) -> float:
            if name and name not in figures:
                raise InputError(
                    f"config.best is {best!r}, but the evaluation has only "
                    f"{', '.join(sorted(figures))}."
                )
            value = sign * figures.get(name, 0.0)
            return value if np.isfinite(value) else -np.inf

        self.score = score
        keep = policies.AnyPreservationPolicy(
            [
                policies.LatestN(2),
                policies.BestN(get_metric_fn=score, n=1, keep_checkpoints_without_metrics=False),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=keep, best_fn=score, best_mode="max", create=False
        )
        if jax.process_index() == 0:
            self.directory.mkdir(parents=True, exist_ok=True)
            for file in self.directory.glob("*/metrics/metrics"):  # read when a manager is made
                saved = file.parent.parent
                if saved.name.isdigit() and not is_json(file):  # not one that is being written
                    say(f"The figures of the checkpoint {saved} are damaged.")
                    set_aside(saved, say)
        handlers = {
            "state": ocp.StandardCheckpointHandler(),
            "checksums": ocp.JsonCheckpointHandler(),
        }
        self.manager = ocp.CheckpointManager(
            self.directory, options=options, item_handlers=handlers
        )
        self.damaged: set[int] = set()

    def latest_step(self) -> int | None:
        """The newest step, or None if nothing was saved yet."""
        return self.manager.latest_step()

    def best_step(self) -> int | None:
        """The step with the best figure, or None if none was evaluated."""
        return self.manager.best_step()

    def save(self, state: TrainState) -> None:
        """Save in the background; a step that is saved already is left as it is."""
        step = int(state.step)
        if step in self.damaged:
            self._move_aside(step)
        if step in self.manager.all_steps():
            return
        size = sum(x.nbytes for x in jax.tree.leaves(state.replace(rng=())))
        if shutil.disk_usage(self.directory).free < size:  # said before a file is cut off
            raise self._disk_full(f"The checkpoint of step {step}, {size / 2**20:,.1f} MiB,")
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), checksums=ocp.args.JsonSave(checksums(state))
        )
        with self._storage_errors(step):
            self.manager.save(step, args=items, force=True)

    def record(self, step: int, figures: dict[str, float]) -> None:
        """Add the figures of a saved step, where the best one is looked for.

        Beside it and renamed, as orbax does, so that they are there whole or not at all.
        """
        self.score(figures)
        with self._storage_errors(step):
            self.manager.wait_until_finished()
            target = self.directory / str(step) / "metrics"
            if jax.process_index() == 0 and not target.exists():
                beside = self.directory / f"metrics.{step}.tmp"
                beside.mkdir(exist_ok=True)
                (beside / "metrics").write_text(json.dumps(figures))
                beside.rename(target)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"recorded {step}")
        self.manager.reload()

    def restore(self, like: Any, *, best_first: bool = False) -> TrainState:
        """The newest whole state, or the best one, shaped and placed as `like`.

        `like` is a state of ShapeDtypeStruct. Damaged checkpoints are named, passed over and left
        where they are. Raises `InputError` if none is whole, or if they are of another model.
        """

        def read(step: int) -> TrainState:
            path = self.directory / str(step)
            with damage(path):
                saved = self.manager.item_metadata(step)["state"].tree
                check_same_model(like, saved, path)
            # orbax's arrays may share memory with its cache; the training step donates its own.
            return jax.tree.map(jnp.copy, self._read(step, ocp.args.StandardRestore(like)))

        return self._first_whole(read, best_first)

    def restore_variables(self, step: int | None = None) -> tuple[int, Variables]:
        """(step, what evaluation uses) of one step, or of the best whole one, on this host.

        It needs no optimiser to restore into, and not the devices that the run was trained on.
        """
        if step is None:
            state = self._first_whole(self._read_on_host, best_first=True)
        elif step not in (steps := sorted(self.manager.all_steps())):
            there = ", ".join(map(str, steps)) or "no step: train first"
            raise InputError(
                f"There is no checkpoint of step {step} in {self.directory}, but of {there}."
            )
        else:
            try:
                state = self._read_on_host(step)
            except DamagedCheckpointError as error:
                raise InputError(str(error)) from error
        return int(state["step"]), TrainState(**state).eval_variables

    def _first_whole(self, read: Callable[[int], Any], best_first: bool) -> Any:
        """read(step) of the newest step, or the best, that is not damaged."""
        steps = sorted(self.manager.all_steps(), reverse=True)
        if not steps:
            raise InputError(f"There is no checkpoint in {self.directory}: train first.")
        if best_first and (best := self.best_step()) in steps:
            steps = [best, *(step for step in steps if step != best)]
        for step in steps:
            try:
                return read(step)
            except DamagedCheckpointError as error:
                self.damaged.add(step)
                self.say(f"{error} Another one is used if there is one.")
        raise InputError(
            f"No checkpoint in {self.directory} is whole: start again with another --workdir."
        )

    def _read(self, step: int, how: Any) -> Any:
        """The arrays of one step; raises `DamagedCheckpointError` if they cannot be trusted."""
        with damage(self.directory / str(step)):
            items = ocp.args.Composite(state=how, checksums=ocp.args.JsonRestore())
            restored = self.manager.restore(step, args=items)
            if checksums(restored["state"]) != restored["checksums"]:
                raise ValueError("its contents do not match their checksums")
            return restored["state"]

    def _read_on_host(self, step: int) -> dict[str, Any]:
        """The state of one step as nested dicts, each array on this process's first device."""
        place = SingleDeviceSharding(parallel.host_device() or jax.local_devices()[0])
        path = self.directory / str(step)
        with damage(path):
            saved = self.manager.item_metadata(step)["state"].tree
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), saved)
        return self._read(step, ocp.args.StandardRestore(like))

    def preempted(self, step: int) -> bool:
        """Whether any process was told to stop; all processes must ask at every step."""
        return jax.process_count() > 1 and self.manager.reached_preemption(step)

    def close(self) -> None:
        """Wait for what is being written."""
        with self._storage_errors(None):
            self.manager.wait_until_finished()
        self.manager.close()

    def _move_aside(self, step: int) -> None:
        """Make place for a new checkpoint where a damaged one lies, without deleting it."""
        if jax.process_index() == 0:
            set_aside(self.directory / str(step), self.say)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"moved {step}")
        self.damaged.discard(step)
        self.manager.reload()

    @contextlib.contextmanager
    def _storage_errors(self, step: int | None) -> Iterator[None]:
        """Turn a full disk, found while writing or on the next call, into one sentence."""
        try:
            yield
        except Exception as error:
            if not disk_full(error):
                raise
            which = "The last checkpoint" if step is None else f"The checkpoint of step {step}"
            raise self._disk_full(f"{which} (or the one before it)") from error

    def _disk_full(self, which: str) -> InputError:
        return InputError(
            f"{which} could not be written: the disk of {self.directory} is full. Free some space "
            "and repeat the command; it resumes from the newest checkpoint that is whole."
        )


@contextlib.contextmanager
def damage(path: Path) -> Iterator[None]:
    """Turn what reading a checkpoint raises into `DamagedCheckpointError`, where it is the files'.

    What this machine lacks (memory, a permission, open files) is no damage.
    """
    try:
        yield
    except (InputError, MemoryError, PermissionError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:  # orbax and tensorstore raise bare exceptions for broken files
        if any(lack in str(each) for each in chain_of(error) for lack in LACKING):
            raise
        reason = str(error).split("\n")[0][:200]
        raise DamagedCheckpointError(f"The checkpoint {path} is damaged ({reason}).") from error


def is_json(path: Path) -> bool:
    """Whether the file can be read as JSON."""
    try:
        json.loads(path.read_text())
    except ValueError:
        return False
    return True


def set_aside(checkpoint: Path, say: Callable[[str], None]) -> None:
    """Move a checkpoint to the folder 'damaged' beside the others, under a free name."""
    folder = checkpoint.parent.parent / "damaged"
    folder.mkdir(exist_ok=True)
    names = (f"{checkpoint.name}{suffix}" for suffix in ("", *(f".{n}" for n in range(1, 1000))))
    free = next(folder / name for name in names if not (folder / name).exists())
    checkpoint.rename(free)
    say(f"The damaged checkpoint {checkpoint} is now {free}.")


def checksums(state: TrainState) -> dict[str, int]:
    """CRC-32 of each array's bytes, by path; every process holds every array whole."""

    def crc(x: Any) -> int:
        data = jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        return zlib.crc32(np.ascontiguousarray(data.addressable_data(0)).view(np.uint8).data)

    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): crc(x) for path, x in leaves}


def check_same_model(like: Any, saved: Any, path: Path) -> None:
    """Raise `InputError` where the saved arrays differ from the expected ones in name or shape."""

    def described(tree: Any) -> dict[str, Any]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        shapes = {jax.tree_util.keystr(p, simple=True, separator="/"): x.shape for p, x in leaves}
        return {name: tuple(shape) for name, shape in shapes.items() if name != "rng"}

    here, there = described(like), described(saved)
    differences = [
        f"{name} is {there.get(name, 'missing')} there and {here.get(name, 'missing')} here"
        for name in sorted(here.keys() | there.keys())
        if here.get(name) != there.get(name)
    ]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise InputError(
            f"The checkpoint {path} is of another model or optimiser: "
            f"{'; '.join(differences[:3])}{more}. Use the config it was trained with, or another "
            "--workdir."
        )
