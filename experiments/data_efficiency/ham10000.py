"""Dermoscopy on a laptop: CIFAR-10 -> unlabelled HAM10000 -> few labels of a new clinic.

Command:   python -m experiments.data_efficiency.prepare_ham10000 --data FOLDER --out runs/ham10000
           (splits by lesion, then this experiment; FOLDER holds cifar10/ and ham10000/)
Hardware:  two CPU cores.
Time:      see docs/reproduction.md.
Expected:  see docs/reproduction.md.

Labelled site: rosendahl; new site: vidir_modern; the unlabelled pool is vidir_molemax, vienna_dias
and the training lesions of both. Malignancy and site go together in HAM10000, so training on
several sites would let a model read the site.
"""

from ml_collections import ConfigDict

from remedis_jax.training.config import load_config, parse_arg


def get_config(arg=None):
    arg = parse_arg(arg, data="runs/ham10000/data", size=48, tiny=False)
    tiny = ",tiny" if arg.tiny else ""
    network = "model=r14x0.25,stem=cifar_stride2"
    natural = load_config(
        f"experiments/bit/natural.py:{network},size=32,manifest={arg.data}/natural.csv{tiny}"
    )
    contrastive = load_config(
        f"experiments/contrastive/simclr.py:{network},size={arg.size},task=t1,"
        f"manifest={arg.data}/pool.csv{tiny}"
    )
    finetune = load_config(
        f"experiments/finetune/classify.py:{network},size={arg.size},task=t1,"
        f"manifest={arg.data}/labelled.csv{tiny}"
    )
    held_out = {"manifest": f"{arg.data}/labelled.csv", "where": {"split": ["val", "test"]}}
    for stage in (natural, contrastive, finetune):
        with stage.unlocked():
            # The manifests name images by their absolute paths.
            stage.data.allow_outside = True
            stage.augment.evaluation = {"crop": "resize"}
            stage.optimizer.name, stage.optimizer.scaling = "adamw", "none"
            stage.optimizer.weight_decay, stage.optimizer.clip_norm = 1e-4, 1.0
            stage.schedule = "cosine"
    natural.data.size = 32
    for stage in (contrastive, finetune):
        stage.data.size = arg.size
        stage.data.group = "lesion_id"
    contrastive.data.held_out = ({**held_out, "group": "lesion_id", "allow_outside": True},)
    contrastive.augment.recipe = "simclr_small"
    contrastive.augment.options = {"area_range": (0.2, 1.0)}
    finetune.data.labels, finetune.data.site = ("malignant",), "site"
    finetune.data.classes = ("0", "1")
    finetune.augment.options = {"area_range": (0.5, 1.0)}
    if not arg.tiny:
        # All below: ours, for a quarter of an hour on two cores.
        for stage in (natural, contrastive, finetune):
            stage.total_epochs = stage.warmup_epochs = stage.warmup_steps = None
            stage.warmup_percent = 10.0
        natural.batch_size, natural.total_steps = 128, 500.0
        natural.optimizer.learning_rate = 3e-3
        contrastive.batch_size, contrastive.total_steps = 128, 400.0
        contrastive.optimizer.learning_rate = 2e-3
        contrastive.objective.temperature = 0.2
        contrastive.checkpoint_steps = 50.0
        finetune.batch_size, finetune.total_steps = 32, 150.0
    finetune.checkpoint_steps, finetune.validation_steps = 0.0, None

    id_site, ood_site = "rosendahl", "vidir_modern"
    finetune_id = finetune.copy_and_resolve_references()
    finetune_id.data.train = {"split": "train", "site": id_site}
    finetune_id.data.validation = {"split": "val", "site": id_site}
    finetune_ood = finetune.copy_and_resolve_references()
    finetune_ood.data.train = {"split": "train", "site": ood_site}
    finetune_ood.data.validation = {}
    # The new site goes on with the whole classifier, head included.
    finetune_ood.init_parts = ("encoder", "head")

    config = ConfigDict()
    config.title = "Dermoscopy (HAM10000): rosendahl to vidir_modern"
    config.metric, config.level = "auroc", "group"
    config.stages = {"natural": natural, "contrastive": contrastive}
    # In this order, since a config does not keep the order of its keys.
    config.stage_order = ("natural", "contrastive")
    config.after = {"contrastive": "natural"}
    config.arms = {
        "supervised": {
            "label": "CIFAR-10 only",
            "start": "natural",
            "stages": ("supervised on CIFAR-10",),
        },
        "self_supervised": {
            "label": "CIFAR-10 + SimCLR",
            "start": "contrastive",
            "stages": ("supervised on CIFAR-10", "SimCLR on unlabelled dermoscopy"),
        },
    }
    config.arm_order = ("supervised", "self_supervised")
    config.baseline_arm, config.ssl_arm = "supervised", "self_supervised"
    config.seeds = (0,) if arg.tiny else (0, 1, 2)
    config.fractions = (0.5, 1.0) if arg.tiny else (0.03, 0.1, 0.25, 1.0)
    # One grid for every arm, chosen on the validation lesions of the labelled site.
    config.learning_rates = (1e-3,) if arg.tiny else (1e-3, 3e-3)
    # ours: what is tuned already is tuned on with a third of the rate, in every arm.
    config.ood_rate_factor = 1 / 3
    config.id_site, config.ood_site = id_site, ood_site
    config.finetune_id, config.finetune_ood = finetune_id, finetune_ood
    config.id_test = {"split": "test", "site": id_site}
    config.ood_test = {"split": "test", "site": ood_site}
    config.command = (
        "python -m experiments.data_efficiency.prepare_ham10000 --data FOLDER --out runs/ham10000"
    )
    config.notes = (
        "Images of 48 pixels and a network of half a million parameters: a demonstration of the "
        "protocol, far from what dermoscopy allows.",
        "The last step of each run is used. The learning rate was chosen per arm among two on "
        "the validation lesions of the labelled site; test lesions chose nothing.",
    )
    return config.lock()
