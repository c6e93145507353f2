"""The whole comparison for one of the tasks, on your own two hospitals.

Command:   remedis sweep --out runs/t3_efficiency --config "experiments/data_efficiency/task.py:\
               task=t3,manifest=labelled.csv,pool=unlabelled.csv,id_site=A,ood_site=B"
Hardware:  that of the task's configs: R50x1 at their sizes wants accelerators; on a laptop
           models=r14x0.25,size=32,standard=,strong=runs/natural,options=stem=cifar_stride2.
Time:      (arms x seeds x 9) fine-tuning runs and one contrastive stage per method and model; not
           measured at full size.
Expected:  depends on your data; the report gives every arm with intervals.

Arms, for every model: random weights; `standard` and `strong` supervised weights (BiT-S and BiT-M,
the public stand-ins of the paper's: docs/tasks.md); and, from the strong ones, each method of
self-supervision on the pool. The strong weights of the first model are the baseline. The labelled
manifest needs the task's columns, `site` and `split` (train, val, test; a patient in one of them
over both sites). Lists are written with semicolons, so the config has to be quoted in a shell.
"""

from experiments.data_efficiency._experiment import add_arm, add_stage, experiment
from experiments.finetune.grid import numbers, pairs
from remedis_jax.errors import UserError
from remedis_jax.tasks.specification import get_task
from remedis_jax.training.config import load_config, parse_arg


def get_config(arg=None):
    text = arg or ""
    arg = parse_arg(
        arg,
        task="t3",
        manifest="",
        # Unlabelled images; "" for no arm with self-supervision.
        pool="",
        id_site="",
        ood_site="",
        # Networks; the first one's strong weights are the baseline.
        models="r50x1",
        methods="simclr",
        # Weights of the arms, {model} for the network's name; "" for no such arm.
        standard="bit-s-{model}",
        strong="bit-m-{model}",
        random=True,
        size=0,
        seeds="",
        fractions="",
        # ours: tried on validation, the same for every arm; the middle one is BiT's.
        rates="0.0003;0.001;0.003",
        # "" for the task's.
        metric="",
        level="group",
        characteristics="",
        # What a label costs, per patient.
        minutes=0.0,
        minutes_source="",
        # Further arguments of the task's fine-tuning config, and of the contrastive one.
        options="",
        pool_options="",
        tiny=False,
    )
    for name in ("manifest", "id_site", "ood_site", "strong"):
        if not arg[name]:
            raise UserError(
                f"{name} is not given.", "Write task.py:manifest=...,id_site=...,ood_site=...,..."
            )
    task = get_task(arg.task)
    models = tuple(arg.models.split(";"))
    methods = tuple(filter(None, arg.methods.split(";"))) if arg.pool else ()
    tiny = ["tiny"] * arg.tiny
    size = [f"size={arg.size}"] * bool(arg.size)

    def of(folder, file, *arguments, options=""):
        extra = [f"{key}={value}" for key, value in pairs(options, "options").items()]
        return load_config(
            f"experiments/{folder}/{file}.py:" + ",".join([*arguments, *size, *extra, *tiny])
        )

    finetune = of(
        "finetune", arg.task, f"model={models[0]}", f"manifest={arg.manifest}", options=arg.options
    )
    config = experiment(
        f"{task.title}: {arg.id_site} to {arg.ood_site}",
        finetune,
        id_site=arg.id_site,
        ood_site=arg.ood_site,
        metric=arg.metric or task.metric,
        level=arg.level,
        task=arg.task,
    )
    config.seeds = tuple(int(seed) for seed in numbers(arg.seeds, "seeds")) or config.seeds
    config.fractions = numbers(arg.fractions, "fractions") or config.fractions
    config.learning_rates = numbers(arg.rates, "rates")
    config.characteristics = tuple(filter(None, arg.characteristics.split(";")))
    if arg.minutes:
        config.minutes_per_label, config.minutes_source = arg.minutes, arg.minutes_source
    ssl_arms = []
    for model in models:
        own = (f"model.name={model}",)
        suffix, of_model = ("", "") if len(models) == 1 else (f"_{model}", f", {model}")
        if arg.random:
            add_arm(
                config, f"random{suffix}", f"random weights{of_model}", start="",
                stages=("nothing",), overrides=own,
            )  # fmt: skip
        for name in ("standard", "strong"):
            weights = arg[name].format(model=model)
            if weights:
                add_arm(
                    config, f"{name}{suffix}", f"{name} supervised{of_model}", start=weights,
                    stages=(f"supervised weights {weights}",), overrides=own,
                )  # fmt: skip
        for method in methods:
            stage = of(
                "contrastive", task.modality, f"model={model}", f"method={method}",
                f"manifest={arg.pool}", f"held_out={arg.manifest}", options=arg.pool_options,
            )  # fmt: skip
            weights = arg.strong.format(model=model)
            add_stage(config, f"{method}{suffix}", stage, after=weights)
            ssl_arms.append(f"strong_{method}{suffix}")
            add_arm(
                config, ssl_arms[-1], f"strong + {method}{of_model}", start=f"{method}{suffix}",
                stages=(f"supervised weights {weights}", f"{method} on unlabelled images"),
                overrides=own,
            )  # fmt: skip
    config.baseline_arm = "strong" if len(models) == 1 else f"strong_{models[0]}"
    config.ssl_arms = tuple(ssl_arms)
    spec = f"experiments/data_efficiency/task.py:{text}"
    config.command = f'remedis sweep --config "{spec}" --out FOLDER'
    return config.lock()
