"""What chooses what in a data-efficiency experiment, in the words of its record."""

from ml_collections import ConfigDict

# Patients of the new site that choose a threshold or a temperature, at least: ours.
LEAST_VALIDATION = 20


def selection_of(config: ConfigDict) -> dict[str, str]:
    """What chose what, in sentences."""
    stage, first = config.finetune_id, config.seeds[0]
    validation = f"the validation patients of {config.id_site}"
    checkpoint = "the last step of every run; nothing chose it"
    if stage.select == "best":
        checkpoint = f"the step of the best {stage.select_metric or 'auroc'} on the run's own"
        checkpoint += " validation rows"
    rates = ", ".join(f"{rate:g}" for rate in config.learning_rates)
    chosen = f"the learning rate among {rates} by {config.metric} on {validation}, seed {first}"
    if len(config.learning_rates) < 2:
        chosen = "nothing was tried; the settings were fixed before"
    fitted = validation
    if config.ood_validation:
        fitted += (
            f"; after fine-tuning on a share of {config.ood_site}'s labels, the same share of its "
            f"own validation patients where that is {LEAST_VALIDATION} or more"
        )
    return {
        "checkpoint": checkpoint,
        "hyperparameters": f"{chosen}; the same for every arm",
        "operating_point": fitted,
        "temperature": fitted,
    }
