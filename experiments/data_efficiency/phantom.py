"""The demo: does self-supervision save labels of a new hospital? On generated images.

Command:   remedis demo --out runs/demo
           (or: remedis sweep --config experiments/data_efficiency/phantom.py:data=FOLDER --out DIR
           on a folder that `remedis_jax.data.phantom.write_phantom` made)
Hardware:  two CPU cores, under 4 GB of memory.
Time:      see the README.
Expected:  see the README.

Both arms start from the same network, trained on the same "natural" images, and are fine-tuned in
the same way. The one difference is the contrastive stage in between.
"""

from ml_collections import ConfigDict

from remedis_jax.training.config import load_config, parse_arg


def get_config(arg=None):
    arg = parse_arg(arg, data="runs/demo/data", tiny=False)
    tiny = ",tiny" if arg.tiny else ""
    network = "model=r14x0.25,stem=cifar_stride2,size=32"
    held_out = {"manifest": f"{arg.data}/labelled/manifest.csv", "where": {"split": "test"}}

    natural = load_config(
        f"experiments/bit/natural.py:{network},manifest={arg.data}/natural/manifest.csv{tiny}"
    )
    contrastive = load_config(
        f"experiments/contrastive/simclr.py:{network},task=phantom,"
        f"manifest={arg.data}/pool/manifest.csv{tiny}"
    )
    finetune = load_config(
        f"experiments/finetune/classify.py:{network},task=phantom,"
        f"manifest={arg.data}/labelled/manifest.csv{tiny}"
    )
    for stage in (natural, contrastive, finetune):
        with stage.unlocked():
            stage.data.channels = 1
            stage.augment.evaluation = {"crop": "resize"}
    contrastive.data.group = "patient_id"
    contrastive.data.held_out = ({**held_out, "group": "patient_id"},)
    finetune.data.site = "site"
    finetune.data.classes = ("absent", "present")

    if not arg.tiny:
        # All below: ours, for minutes on two cores. AdamW, since LARS wants large batches.
        for stage in (natural, contrastive, finetune):
            # The films' own size: the disease is a fine pattern, and resampling would blur it.
            stage.data.size = 32
            stage.optimizer.name, stage.optimizer.scaling = "adamw", "none"
            stage.optimizer.weight_decay, stage.optimizer.clip_norm = 1e-4, 1.0
            stage.schedule = "cosine"
            stage.total_epochs = stage.warmup_epochs = stage.warmup_steps = None
            stage.warmup_percent = 10.0
        natural.batch_size, natural.total_steps = 128, 100.0
        natural.optimizer.learning_rate = 3e-3
        contrastive.batch_size, contrastive.total_steps = 128, 260.0
        contrastive.optimizer.learning_rate = 2e-3
        contrastive.objective.temperature = 0.2
        # Crop, flip, brightness and contrast. At 32 pixels blur and elastic deformation erase the
        # fine pattern that is the disease.
        contrastive.augment.options = {
            "elastic_probability": 0.0,
            "rotation_degrees": 0.0,
            "equalize_probability": 0.0,
            "blur_probability": 0.0,
            "area_range": (0.25, 1.0),
        }
        contrastive.checkpoint_steps = 50.0
        finetune.batch_size, finetune.total_steps = 64, 60.0
        finetune.augment.options = {"area_range": (0.5, 1.0)}
    # Runs of seconds need no checkpoints; an interrupted one begins anew.
    finetune.checkpoint_steps, finetune.validation_steps = 0.0, None

    id_site, ood_site = "hospital_a", "hospital_b"
    finetune_id = finetune.copy_and_resolve_references()
    finetune_id.data.train = {"split": "train", "site": id_site}
    finetune_id.data.validation = {"split": "val", "site": id_site}
    finetune_ood = finetune.copy_and_resolve_references()
    finetune_ood.data.train = {"split": "train", "site": ood_site}
    finetune_ood.data.validation = {}
    # The new site goes on with the whole classifier, head included.
    finetune_ood.init_parts = ("encoder", "head")

    config = ConfigDict()
    config.title = "The phantom: two invented hospitals"
    config.metric, config.level = "auroc", "group"
    config.stages = {"natural": natural, "contrastive": contrastive}
    # In this order, since a config does not keep the order of its keys.
    config.stage_order = ("natural", "contrastive")
    config.after = {"contrastive": "natural"}
    config.arms = {
        "supervised": {
            "label": "natural images only",
            "start": "natural",
            "stages": ("supervised on natural images",),
        },
        "self_supervised": {
            "label": "natural images + SimCLR",
            "start": "contrastive",
            "stages": ("supervised on natural images", "SimCLR on unlabelled films"),
        },
    }
    config.arm_order = ("supervised", "self_supervised")
    config.baseline_arm, config.ssl_arm = "supervised", "self_supervised"
    config.seeds = (0,) if arg.tiny else (0, 1, 2)
    config.fractions = (0.5, 1.0) if arg.tiny else (0.03, 0.1, 0.25, 1.0)
    # One grid for every arm, chosen on the validation patients of hospital A.
    config.learning_rates = (1e-3,) if arg.tiny else (1e-3, 3e-3)
    # ours: what is tuned already is tuned on with a third of the rate, in every arm.
    config.ood_rate_factor = 1 / 3
    config.id_site, config.ood_site = id_site, ood_site
    config.finetune_id, config.finetune_ood = finetune_id, finetune_ood
    config.id_test = {"split": "test", "site": id_site}
    config.ood_test = {"split": "test", "site": ood_site}
    config.command = "remedis demo"
    config.notes = (
        "All images are generated; nothing here is about real patients.",
        "The last step of each run is used. The learning rate was chosen per arm among two on the "
        "validation patients of hospital A; test patients chose nothing.",
        "Every fine-tuning run has 60 steps, so that the demo ends in minutes. Longer runs lift "
        "the arm without self-supervision more than the other.",
    )
    return config.lock()
