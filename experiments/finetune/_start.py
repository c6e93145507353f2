"""What the fine-tuning configs have in common: arguments, task, protocol, and the tiny form.

Provenance of a default: official-code (the released REMEDIS code, google-research/simclr), bit
(big_transfer), micle (Azizi et al. 2021, as remembered), ours.
"""

from experiments.bit.natural import shrink
from remedis_jax.errors import UserError
from remedis_jax.tasks.task import Task
from remedis_jax.training.config import parse_arg, stage_config

PROTOCOLS = ("hyperrule", "grid-point", "linear")
# What leaves a column out that the task would name.
NO_COLUMN = "none"


def read_arguments(arg, **options):
    """What stands after the colon: the arguments that all fine-tuning configs have, and `options`.

    Args:
        arg: `name=value,name,...` or None.
        **options: A config's own arguments with their defaults.
    """
    return parse_arg(
        arg,
        # Network, e.g. r50x1, r152x2, r26x1, r14x0.25; and its stem: bit, cifar, cifar_stride2.
        model="r50x1",
        stem="bit",
        # Side of what the network sees; 0 for the task's.
        size=0,
        manifest="",
        # Weights to start from; "" for random ones.
        init="",
        # Share of the training patients. The seed chooses them too.
        fraction=1.0,
        seed=0,
        # One of PROTOCOLS.
        protocol="hyperrule",
        # Train and validate on this site alone; "" for all rows.
        site="",
        # Other columns than the task's: several label columns are joined by "+", "none" leaves the
        # group or the case out.
        labels="",
        group="",
        case="",
        tiny=False,
        **options,
    )


def start_config(task: Task, arg):
    """A config of fine-tuning for a task, with the arguments filled in.

    Args:
        task: What is predicted, from which columns.
        arg: From `read_arguments`.

    Raises:
        UserError: There is no such protocol.
    """
    config = stage_config("supervised")
    config.init, config.seed = arg.init, arg.seed
    config.objective.kind = task.kind
    if task.intervals:
        config.objective.horizon = task.horizon
        config.objective.intervals = task.intervals
    set_data(config.data, task, arg)
    set_images(config, task, arg)
    set_protocol(config, arg.protocol, task.images_per_example if config.data.case_images else 1)
    config.checkpoint_steps = config.validation_steps = 100.0  # ours
    # The grid of micle, too, is chosen from on the in-distribution validation set; which step of a
    # run is taken is not known of it: ours is the one of the best validation.
    config.select, config.select_metric = "best", task.metric
    return config


def set_data(data, task: Task, arg) -> None:
    """Rows, columns and labels."""
    data.manifest = arg.manifest
    data.labels, data.readers, data.classes = task.labels, task.readers, task.classes
    if arg.labels:
        data.labels, data.readers = tuple(arg.labels.split("+")), ()
        if task.kind == "sigmoid":
            data.classes = ()
    for name, value in task.label_policy.items():
        data[name] = value
    data.group = _column(arg.group, task.group)
    case = _column(arg.case, task.case)
    if case:
        data.case, data.case_images = case, task.case_images
        data.view, data.views = task.view, task.views
    data.split = "split"
    data.train, data.validation = {"split": "train"}, {"split": "val"}
    if arg.site:
        data.site = "site"
        data.train, data.validation = (
            {**rows, "site": arg.site} for rows in (data.train.to_dict(), data.validation.to_dict())
        )
    # Nested subsets, stratified by label; another seed has another one.
    data.fraction, data.fraction_seed = arg.fraction, arg.seed


def _column(named: str, of_task: str) -> str:
    return "" if named == NO_COLUMN else named or of_task


def set_images(config, task: Task, arg) -> None:
    """Network and resolution.

    BiT-HyperRule knows two sizes, by the area of the images: resize to 160 and crop 128, or resize
    to 512 and crop 480 (bit; 448 in the paper's text, from memory). Here the task says what the
    network sees, and the host keeps 512/448 of it, so that the central crop of predictions is the
    official 0.875.
    """
    size = arg.size or task.finetune_size
    config.model.name, config.model.stem = arg.model, arg.stem
    config.data.channels, config.data.fit = task.channels, task.fit
    config.data.size = round(size * 512 / 448)
    # official-code: random resized crop and flip, no colour; rotation where the task has it. (bit
    # crops without resizing: augment.recipe=bit.)
    config.augment.recipe, config.augment.size = "finetune", size
    config.augment.options = dict(task.finetune_options)


def set_protocol(config, protocol: str, images_per_example: int) -> None:
    """Optimiser, rate, length and what is trained.

    Args:
        config: Changed in place.
        protocol: "hyperrule": BiT-HyperRule; "grid-point": a point of MICLe's grid, whose rate and
            weight decay are set from outside; "linear": the encoder is frozen.
        images_per_example: Of a case. Batches are counted in images: ours, since memory is.

    Raises:
        UserError: There is no such protocol.
    """
    optimizer = config.optimizer
    optimizer.name, optimizer.momentum = "sgd", 0.9
    if protocol != "hyperrule":
        # official-code: everything but BatchNorm is decayed where the optimiser is not LARS.
        optimizer.exclude = "batch_normalization"
    if protocol == "hyperrule":
        # bit, with the batch and rate that its README recommends off TPU (512 and 0.003 on it): no
        # weight decay; length, drops and mixup by the number of examples.
        optimizer.learning_rate, optimizer.scaling = 0.001, "none"
        optimizer.weight_decay = 0.0
        config.schedule, batch = "bit", 128
    elif protocol == "grid-point":
        # micle: 7 rates from 10^-3.5 to 10^-0.5 by weight decay 0, 1e-5, 1e-4, 1e-3, batch 256,
        # 30,000 steps. ours: start from the grid's middle. official-code: Nesterov, cosine.
        optimizer.learning_rate, optimizer.scaling = 0.01, "none"
        optimizer.weight_decay, optimizer.nesterov = 0.0, True
        config.schedule, config.total_steps, batch = "cosine", 30_000.0, 256
        config.objective.mixup = 0.0
    elif protocol == "linear":
        # official-code (simclr): Nesterov, rate 0.1 x batch / 256, weight decay 1e-6, 90 epochs,
        # cosine without warm-up, on features of a frozen encoder; batch 512 as in REMEDIS.
        config.freeze = "encoder"
        optimizer.learning_rate, optimizer.scaling = 0.1, "linear"
        optimizer.weight_decay, optimizer.nesterov = 1e-6, True
        config.schedule, config.total_epochs, batch = "cosine", 90.0, 512
        config.objective.mixup = 0.0
    else:
        raise UserError(f"There is no protocol {protocol!r}.", f"Use {', '.join(PROTOCOLS)}.")
    config.batch_size = batch // images_per_example


def finish_config(config, arg):
    """The config itself, or its tiny form, which learns the task's phantom in seconds (ours)."""
    if arg.tiny:
        shrink(config)
        config.data.size = config.augment.size = arg.size or TINY_SIZE
        config.augment.options = {"area_range": (0.5, 1.0)}
        config.augment.evaluation = {"crop": "resize"}
        # SGD from BiT's weights is the protocol; a network this small starts from nothing.
        config.optimizer.name, config.optimizer.weight_decay = "adamw", 1e-4
        config.optimizer.learning_rate, config.optimizer.nesterov = 3e-3, False
        config.schedule, config.objective.mixup = "cosine", 0.0
        config.batch_size = 16
        if not config.data.views:
            config.data.case_images = min(config.data.case_images, 3)
        # Different images of so few pixels have like fingerprints.
        config.data.near_duplicates = -1
        config.total_steps, config.warmup_steps = 100.0, 10.0
        config.checkpoint_steps = config.validation_steps = 50.0
    return config


# Pixels of the tiny forms of all tasks, so that tests compile one step for many of them.
TINY_SIZE = 24
