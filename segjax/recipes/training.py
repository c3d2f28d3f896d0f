"""What all configs share: the values of a run, its optimiser, its first weights, its batches."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optax
from ml_collections import ConfigDict, config_dict

from segjax import optim, transfer
from segjax.core import Experiment, Task
from segjax.data import loader
from segjax.data.source import Source
from segjax.errors import InputError, choose
from segjax.metrics import Metric

SCHEDULES = {
    "poly": optim.poly,
    "cosine": optim.cosine,
    "constant": lambda rate, steps: optax.constant_schedule(rate),
}


def get_config() -> ConfigDict:
    """The values that every run has."""
    config = ConfigDict()
    config.seed = 0
    config.data_dir = config_dict.placeholder(str)  # where tfds keeps prepared data sets
    config.num_workers = 0  # worker processes that read data; 0: threads
    config.batch_size = 8
    config.optimizer = "adamw"  # or sgd
    config.momentum = 0.9  # of sgd
    config.learning_rate = 1e-3
    config.schedule = "poly"  # or another of SCHEDULES
    config.warmup = 20  # steps
    config.weight_decay = 1e-4
    config.backbone_rate = 1.0  # of a model with a backbone, times the learning rate; 0: frozen
    config.init_from = config_dict.placeholder(str)  # PATH[:part,part]: weights to start from
    config.best = config_dict.placeholder(str)  # the figure that chooses the best checkpoint
    config.log_every = 20
    config.dtype = "float32"  # of the computation, or bfloat16; parameters are float32
    config.train = ConfigDict({"steps": 1_000, "eval_every": 250})
    config.train.save_every = config_dict.placeholder(int)  # checkpoints between evaluations
    config.train.nonfinite = "stop"  # what a NaN does, or 'skip' its update
    return config


def optimizer(config: Any) -> optax.GradientTransformation:
    """AdamW or SGD by the config's values; the backbone at its own share of the rate."""
    if not config.backbone_rate >= 0:
        raise InputError(f"--config.backbone_rate must be at least 0, not {config.backbone_rate}.")
    schedule = choose(SCHEDULES, config.schedule, "config.schedule")
    rate = optim.with_warmup(schedule(config.learning_rate, config.train.steps), config.warmup)
    decay = optim.decay_weights(config.weight_decay)
    chains = {
        "adamw": [optax.clip_by_global_norm(1.0), optax.scale_by_adam(), decay],
        "sgd": [decay, optax.trace(config.momentum)],
    }
    chain = choose(chains, config.optimizer, "config.optimizer")
    if config.backbone_rate not in (0, 1):
        chain.append(optim.scale_by_path({"^backbone/": config.backbone_rate}))
    tx = optax.chain(*chain, optim.learning_rate(rate))
    if config.backbone_rate == 0:
        tx = optim.freeze(tx, ["^backbone/"])

    def init(params: Any) -> Any:
        if config.backbone_rate != 1 and "backbone" not in params:
            raise InputError(
                f"--config.backbone_rate is {config.backbone_rate} and has no backbone to act on; "
                f"the network has {', '.join(params)}: leave it at 1."
            )
        return tx.init(params)

    return tx._replace(init=init)


def experiment(
    config: Any,
    task: Task,
    model: Any,
    facts: Mapping[str, Any],
    sources: Mapping[str, Callable[[], Source]],
    metrics: Sequence[Metric],
    input: str | None = None,
) -> Experiment:
    """The experiment of a task on its sources, with the config's optimiser and first weights.

    A backbone that learns nothing gets no gradient. `input` is what of `weights.input.INPUTS` the
    network sees, if it sees one of them.
    """
    if config.backbone_rate == 0:
        task = transfer.without_gradient(task, "backbone")
    task = transfer.initialised_from(task, config.init_from, model.num_classes, input=input)
    train, evals = loader.streams(
        sources,
        task.preprocess,
        config.batch_size,
        seed=config.seed,
        num_workers=config.num_workers,
    )
    names = tuple(name for metric in metrics for name in metric.names)
    return Experiment(task, optimizer(config), train, evals, model, facts, sources, names)


def require_init_from(config: Any) -> None:
    """Raise `InputError` unless the config names weights to start from."""
    if config.init_from is None:
        raise InputError(
            "Say what to start from, such as --config.init_from=resnet34-b627a593.pth:backbone."
        )
