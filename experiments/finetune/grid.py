"""A grid of learning rate x weight decay for one task, the same for every arm of a comparison.

Command:   remedis sweep --out runs/t1_grid --config "experiments/finetune/grid.py:task=t1,\
               manifest=labelled.csv,arms=imagenet=runs/natural;simclr=runs/simclr"
Hardware:  as the task's own config; --executor devices uses all devices of a machine, --executor
           slurm a cluster (docs/sweeps.md).
Time:      28 runs an arm for the grid and one for each further seed; not measured at full size.
Expected:  depends on your data; the report gives every arm with intervals, and its difference to
           the first one.

The grid is of MICLe's protocol, from memory (Azizi et al. 2021, which REMEDIS follows): seven rates
from 10^-3.5 to 10^-0.5, evenly in the logarithm, by weight decay 0, 1e-5, 1e-4 and 1e-3. The point
of an arm is the one that validates best in distribution with the first seed; it is then run with
every seed, and the test rows are looked at for the first time.

Lists are written with semicolons, so the config has to be quoted in a shell.
"""

from ml_collections import ConfigDict

from remedis_jax.errors import UserError
from remedis_jax.tasks.specification import get_task
from remedis_jax.training.config import parse_arg

# micle, from memory.
RATES = tuple(round(10 ** (exponent / 2), 6) for exponent in range(-7, 0))
DECAYS = (0.0, 1e-5, 1e-4, 1e-3)
SEEDS = (0, 1, 2, 3, 4)  # ours


def get_config(arg=None):
    text = arg or ""
    arg = parse_arg(
        arg,
        # t1 ... t6, or classify for any labelled images.
        task="t1",
        model="r50x1",
        manifest="",
        size=0,
        # NAME=WEIGHTS;NAME=WEIGHTS: what the runs start from. The first is compared with.
        arms="",
        fraction=1.0,
        # The site that is trained, validated and tested on, "" for all rows; and one that is only
        # tested on.
        site="",
        ood_site="",
        seeds="",
        rates="",
        decays="",
        # What chooses and is reported; "" for the task's.
        metric="",
        level="group",
        # Further arguments of the task's config, e.g. options=stem=cifar_stride2;group=none.
        options="",
        tiny=False,
    )
    # What classify predicts is not known here, so AUROC is its metric unless another is named.
    known = "phantom" if arg.task == "classify" else arg.task
    base = {"model": arg.model, "manifest": arg.manifest, "protocol": "grid-point"}
    if arg.task == "classify":
        # ours: a grid has validation rows, so the step is taken that is best on them.
        base["select"] = "best"
    given = {"size": arg.size, "fraction": arg.fraction, "site": arg.site}
    base |= {name: value for name, value in given.items() if value not in (0, 1.0, "")}
    base |= pairs(arg.options, "options")
    arguments = [f"{name}={value}" for name, value in base.items()] + ["tiny"] * arg.tiny
    tests = [("in distribution", {"where": _where(arg.site)})]
    if arg.ood_site:
        tests.append(("out of distribution", {"where": _where(arg.ood_site)}))

    config = ConfigDict()
    config.kind = "grid"
    config.title = f"Grid of {arg.task}"
    config.base = f"experiments/finetune/{arg.task}.py:{','.join(arguments)}"
    # For all runs, after the arguments of the base.
    config.overrides = ()
    # Pairs in order: a config neither keeps the order of its keys nor allows dots in them.
    config.arms = tuple(pairs(arg.arms, "arms").items())
    config.axes = (
        ("optimizer.learning_rate", numbers(arg.rates, "rates") or RATES),
        ("optimizer.weight_decay", numbers(arg.decays, "decays") or DECAYS),
    )
    config.seeds = tuple(int(seed) for seed in numbers(arg.seeds, "seeds")) or SEEDS
    config.metric = arg.metric or get_task(known).metric
    config.also = tuple(name for name in get_task(known).metrics if name != config.metric)
    config.level = arg.level
    config.tests = tuple(tests)
    config.command = f'remedis sweep --config "experiments/finetune/grid.py:{text}"'
    config.notes = (
        "The grid is MICLe's, from memory; the weights of a run are of its best validation.",
    )
    return config.lock()


def _where(site):
    return {"split": "test", "site": site} if site else {"split": "test"}


def pairs(text, name):
    """`a=x;b=y` -> {"a": "x", "b": "y"}."""
    pairs = {}
    for part in filter(None, text.split(";")):
        key, equals, value = part.partition("=")
        if not equals or key in pairs:
            raise UserError(
                f"{name}={text}: {part!r} has no value, or its name is there already.",
                f"Write {name}=NAME=VALUE;NAME=VALUE, and quote it in a shell.",
            )
        pairs[key] = value
    return pairs


def numbers(text, name):
    """`0.1;0.01` -> (0.1, 0.01)."""
    try:
        return tuple(float(part) for part in text.split(";") if part)
    except ValueError as error:
        raise UserError(
            f"{name}={text} has a part that is no number.", f"Write e.g. {name}=0.1;0.01."
        ) from error
