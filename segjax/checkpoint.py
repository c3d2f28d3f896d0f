"""Save and restore a run with orbax: written in the background, taken for good only when whole.

A checkpoint is a directory named by its step. Orbax writes it under another name and renames it
when it is complete, so one cut off half-way is never seen. Beside the arrays lie their checksums,
since the array files themselves do not notice a flipped bit.
"""

import contextlib
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from segjax.core import TrainState
from segjax.errors import InputError


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

    def save(self, state: TrainState, figures: dict[str, float] | None = None) -> None:
        """Save in the background; a step that is saved already is left as it is."""
        step = int(state.step)
        if step in self.damaged:
            self._move_aside(step)
        if step in self.manager.all_steps():
            return
        if figures is not None:
            self.score(figures)
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), checksums=ocp.args.JsonSave(checksums(state))
        )
        with self._storage_errors(step):
            self.manager.save(step, args=items, metrics=figures, force=True)

    def restore(self, like: Any) -> TrainState:
        """The newest whole state, shaped and placed as `like` (a state of ShapeDtypeStruct).

        Damaged checkpoints are named, passed over and left where they are. Raises `InputError` if
        none is whole, or if they are of another model.
        """
        for step in sorted(self.manager.all_steps(), reverse=True):
            try:
                return self.restore_step(step, like)
            except DamagedCheckpointError as error:
                self.damaged.add(step)
                self.say(f"{error} The one before it is used.")
        raise InputError(
            f"No checkpoint in {self.directory} is whole: start again with another --workdir."
        )

    def restore_step(self, step: int, like: Any) -> TrainState:
        """The state of one step; raises `DamagedCheckpointError` if it cannot be trusted."""
        path = self.directory / str(step)
        try:
            saved = self.manager.item_metadata(step)["state"]
            check_same_model(like, saved.tree, path)
            items = ocp.args.Composite(
                state=ocp.args.StandardRestore(like), checksums=ocp.args.JsonRestore()
            )
            restored = self.manager.restore(step, args=items)
            if checksums(restored["state"]) != restored["checksums"]:
                raise ValueError("its contents do not match their checksums")
        except InputError:
            raise
        except Exception as error:  # orbax and tensorstore raise bare exceptions for broken files
            reason = str(error).split("\n")[0][:200]
            raise DamagedCheckpointError(f"The checkpoint {path} is damaged ({reason}).") from error
        # orbax's arrays may share memory with its cache; the training step donates its own.
        return jax.tree.map(jnp.copy, restored["state"])

    def restore_variables(self, step: int) -> dict[str, Any]:
        """What evaluation uses of one step, as numpy arrays, without knowing the optimiser."""
        path = self.directory / str(step)
        try:
            items = ocp.args.Composite(
                state=ocp.args.StandardRestore(), checksums=ocp.args.JsonRestore()
            )
            restored = self.manager.restore(step, args=items)
            if checksums(restored["state"]) != restored["checksums"]:
                raise ValueError("its contents do not match their checksums")
        except Exception as error:
            reason = str(error).split("\n")[0][:200]
            raise InputError(f"The checkpoint {path} is damaged ({reason}).") from error
        state = restored["state"]
        params = optax.tree.get(state["opt_state"], "averaged_params", state["params"])
        return {"params": params, **state["model_state"]}

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
        aside = self.directory.parent / "damaged" / str(step)
        if jax.process_index() == 0:
            aside.parent.mkdir(exist_ok=True)
            (self.directory / str(step)).rename(aside)
        self.say(f"The damaged checkpoint of step {step} is now {aside}.")
        self.damaged.discard(step)
        self.manager.reload()

    @contextlib.contextmanager
    def _storage_errors(self, step: int | None) -> Iterator[None]:
        """Turn a full disk, found while writing or on the next call, into one sentence."""
        try:
            yield
        except Exception as error:
            text = "\n".join(str(e) for e in chain_of(error))
            if "No space left" not in text and "Disk quota exceeded" not in text:
                raise
            which = "The last checkpoint" if step is None else f"The checkpoint of step {step}"
            raise InputError(
                f"{which} (or the one before it) could not be written: the disk of "
                f"{self.directory} is full. Free some space and repeat the command; it resumes "
                "from the newest checkpoint that is whole."
            ) from error


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what caused it, outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


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
