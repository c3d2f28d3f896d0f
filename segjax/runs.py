"""A run that was trained, opened again: its experiment and the weights of a step."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from segjax import checkpoint, cli, workdir
from segjax.core import Experiment, Variables
from segjax.errors import InputError


class Run(NamedTuple):
    """A run as it is predicted, exported or described."""

    path: Path
    config_file: str
    config: ConfigDict
    experiment: Experiment
    variables: Variables  # on the host
    step: int


def load(path: Path | str, step: int | None = None, *, trust_config: bool = False) -> Run:
    """The run in a workdir at a step, by default the best; no data are opened.

    Raises `InputError` where config, facts and weights do not belong together, and for a config
    that is not trusted.
    """
    path = Path(path)
    saved = workdir.read_config(path)
    module, config = load_config(path, saved, trust_config)
    cli.check_values(config)
    experiment = cli.build(module, config, saved["facts"])
    checkpoints = checkpoint.Checkpoints(path / "checkpoints", workdir.best_figure(saved))
    step, variables = checkpoints.restore_variables(step)
    check_fits(experiment, variables, path)
    return Run(path, saved["config_file"], config, experiment, variables, step)


def load_config(path: Path, saved: Mapping[str, Any], trust: bool) -> tuple[Any, ConfigDict]:
    """(module, values) of the run in a workdir, from what its config.json has saved.

    The module is the checkout's or one in the working directory; raises `InputError` for one that
    lies elsewhere or came with the workdir, unless told to trust it.
    """
    name = saved["config_file"].partition(":")[0]
    file = next((p for root in (cli.ROOT, Path.cwd()) if (p := root / name).is_file()), None)
    if file is not None and not trust:
        real = file.resolve()
        near = any(real.is_relative_to(root) for root in (cli.ROOT, Path.cwd().resolve()))
        where = "came with it" if real.is_relative_to(path.resolve()) else "is from elsewhere"
        if not near or where == "came with it":
            raise InputError(
                f"The run in {path} names the config {real}, Python code that {where}: read it, "
                "and if you trust it, give --trust_config."
            )
    source = str(file) + saved["config_file"][len(name) :] if file else saved["config_file"]
    module, config = cli.load_config(source)
    try:
        with config.unlocked():
            config.update(saved["values"])
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(
            f"The values in {path / 'config.json'} do not fit the config {name}: "
            f"{str(error).splitlines()[0]}. Use the commit that the run was made with (runs.jsonl)."
        ) from error
    return module, config


def check_fits(experiment: Experiment, variables: Variables, path: Path) -> None:
    """Raise `InputError` if the weights are not of the model that the run's values make."""
    model, facts = experiment.model, experiment.facts
    sides = [model.input_size(32)] * facts.get("dimensions", 2)
    image = jax.ShapeDtypeStruct((1, *sides, facts["channels"]), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    made = jax.eval_shape(experiment.task.init, key, {"image": image})
    checkpoint.check_same_model(made, variables, path / "checkpoints")
