"""What the data-efficiency experiments have in common: arms, fractions, seeds, sites, the rules.

The fractions are those of the issue's protocol in the paper's manner (Azizi et al. 2023 show 1% to
100%, from memory); seeds, margin and rates are ours.
"""

from ml_collections import ConfigDict, config_dict

FRACTIONS = (0.0, 0.01, 0.033, 0.1, 0.2, 0.33, 0.5, 0.75, 1.0)
SEEDS = (0, 1, 2, 3, 4)
# ours: an arm within 0.01 of the baseline's metric counts as its match.
MARGIN = 0.01


def experiment(title, finetune, *, id_site, ood_site, metric="auroc", level="group", task=""):
    """A config without arms and stages: both sites' parts and the rules of the protocol.

    Args:
        title: Heading of the report.
        finetune: Config of the supervised stage, for both sites; of manifests with the columns
            `site` and `split` (train, val, test).
        id_site: Where the labels are.
        ood_site: The new hospital.
        metric: As in `remedis_jax.evaluation.metrics.NAMES`.
        level: "group" to score patients, "image" to score images.
        task: t1 to t6, or "".
    """
    finetune_id = finetune.copy_and_resolve_references()
    with finetune_id.unlocked():
        finetune_id.data.site, finetune_id.data.split = "site", "split"
        finetune_id.data.train = {"split": "train", "site": id_site}
        finetune_id.data.validation = {"split": "val", "site": id_site}
    finetune_ood = finetune_id.copy_and_resolve_references()
    finetune_ood.data.train = {"split": "train", "site": ood_site}
    # Which step is taken is not chosen on the new site: its few labels are for training.
    finetune_ood.data.validation = {}
    finetune_ood.select, finetune_ood.select_metric = "last", ""
    # The new site goes on with the whole classifier, head included.
    finetune_ood.init_parts = ("encoder", "head")

    config = ConfigDict()
    config.title, config.task = title, task
    config.metric, config.level = metric, level
    config.margin = MARGIN
    # What a label costs, who says so, and whether every patient or every image gets one. None:
    # hours are not computed.
    config.minutes_per_label = config_dict.placeholder(float)
    config.minutes_source = ""
    config.label_unit = "patient"
    config.characteristics = ()
    # Stages by name, in the order of stage_order; `after` names the stage, or the weights, that
    # each starts from.
    config.stages, config.stage_order, config.after = {}, (), {}
    # Arms by name, in the order of arm_order, with `label`, `stages` (sentences), `start` (a stage,
    # weights, or "" for random ones) and, where it has its own, `overrides` of the fine-tuning.
    config.arms, config.arm_order = {}, ()
    config.baseline_arm, config.ssl_arms = "", ()
    config.seeds, config.fractions = SEEDS, FRACTIONS
    # One grid for every arm, chosen on the validation patients of the labelled site.
    config.learning_rates = (1e-3, 3e-3)
    # ours: what is tuned already is tuned on with a third of the rate, in every arm.
    config.ood_rate_factor = 1 / 3
    config.id_site, config.ood_site = id_site, ood_site
    config.finetune_id, config.finetune_ood = finetune_id, finetune_ood
    config.id_test = {"split": "test", "site": id_site}
    config.ood_test = {"split": "test", "site": ood_site}
    # Chooses thresholds and temperatures after training on the new site; cut to the same share.
    config.ood_validation = {"split": "val", "site": ood_site}
    config.command, config.notes = "", ()
    return config


def add_stage(config, name, stage, after=""):
    """Adds a stage that makes an encoder, in the order in which they are to be run."""
    config.stages[name] = stage
    config.stage_order = (*config.stage_order, name)
    if after:
        config.after[name] = after


def add_arm(config, name, label, *, start, stages, overrides=()):
    """Adds an arm: where fine-tuning starts from."""
    config.arms[name] = {
        "label": label, "start": start, "stages": tuple(stages), "overrides": tuple(overrides),
    }  # fmt: skip
    config.arm_order = (*config.arm_order, name)


def add_chain(config, natural, contrastive, *, start, pool, random=True):
    """The chain and its arms: random weights, the natural start, and self-supervision after it.

    Args:
        config: From `experiment`.
        natural: Supervised stage on natural images.
        contrastive: Self-supervised stage on the pool.
        start: What the natural images are called, e.g. "CIFAR-10".
        pool: What the pool is called, e.g. "unlabelled dermoscopy".
        random: Whether there is an arm of random weights.
    """
    add_stage(config, "natural", natural)
    add_stage(config, "contrastive", contrastive, after="natural")
    supervised = f"supervised on {start}"
    if random:
        add_arm(config, "random", "random weights", start="", stages=("nothing",))
    add_arm(config, "supervised", f"{start} only", start="natural", stages=(supervised,))
    add_arm(
        config, "self_supervised", f"{start} + SimCLR", start="contrastive",
        stages=(supervised, f"SimCLR on {pool}"),
    )  # fmt: skip
    config.baseline_arm, config.ssl_arms = "supervised", ("self_supervised",)


def for_a_laptop(*stages):
    """AdamW and a cosine of steps, since LARS wants large batches (ours)."""
    for stage in stages:
        with stage.unlocked():
            stage.optimizer.name, stage.optimizer.scaling = "adamw", "none"
            stage.optimizer.weight_decay, stage.optimizer.clip_norm = 1e-4, 1.0
            stage.schedule = "cosine"
            stage.total_epochs = stage.warmup_epochs = stage.warmup_steps = None
            stage.warmup_percent = 10.0


def shortened(config):
    """One seed and two fractions, to see that everything works."""
    config.seeds, config.fractions, config.learning_rates = (0,), (0.5, 1.0), (1e-3,)
