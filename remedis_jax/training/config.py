"""Configs: every field with its default, strings such as `simclr.py:model=r50x1`, overrides.

A config file is Python with `get_config(arg)`, where `arg` is what stands after the colon. It
starts from `stage_config(...)`, which holds every field that exists, so that a misspelt one is an
error that names the field it resembles.
"""

import ast
import dataclasses
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from remedis_jax.data.fingerprints import NEAR_DUPLICATE_BITS
from remedis_jax.errors import UserError
from remedis_jax.objectives.methods import METHODS
from remedis_jax.training.durations import other_units


def stage_config(stage: str) -> ConfigDict:
    """All fields of one stage's config with their defaults.

    Args:
        stage: "supervised" or one of `objectives.methods.METHODS`.

    Raises:
        UserError: Unknown stage.
    """
    if stage != "supervised" and stage not in METHODS:
        raise UserError(
            f"There is no stage {stage!r}.", f"Use supervised, {', '.join(METHODS)}."
        )
    config = ConfigDict(
        {
            "stage": stage,
            "seed": 0,
            # Weights that the run starts from, "" for random initialisation, and which of their
            # parts it takes: ("encoder",), or ("encoder", "head") to go on with a classifier.
            "init": "",
            "init_parts": ("encoder",),
            # Regular expressions of their parameters that are not taken and start at random, e.g.
            # ("encoder/group_norm/",). Whatever else is missing or left over is an error.
            "dont_load": (),
            # Under which licence the weights of this run stand, for their card.
            "licence": "",
            "batch_size": 128,
            # A batch that is too large for memory is worked through `micro_batch` examples at a
            # time. "embeddings": features first, then each part once more for its gradient; exact
            # for every objective. "gradients": the mean of the parts' gradients, one pass;
            # refused where examples meet in the loss.
            "accumulation": "none",
            "micro_batch": 0,
            # Devices to use; 0 for all.
            "devices": 0,
            # Measure where the time of a step goes, and write input_profile.json.
            "profile_input": False,
            "data": {
                # CSV, Parquet (of paths, or of images as Hugging Face keeps them), a folder of
                # images, a cache of `remedis cache`, or tfds:NAME:SPLIT.
                "manifest": "",
                # Rows that are tiles of slides: mapping with slide, x, y, size, level or mpp.
                "tiles": {},
                "image": "image",
                # Patient, lesion or case: no group may stand in two splits.
                "group": "",
                # Regular expression whose match in that column is the group, e.g. r"patient\d+"
                # where the column holds paths; "" for all of the cell.
                "group_pattern": "",
                # Who gives out the group ids: equal ids of different namespaces are different
                # patients to the leak guard.
                "namespace": "",
                # Whose images make the pairs of MICLe; "" for `group`. In fine-tuning, with
                # `case_images`, whose images together are one example.
                "case": "",
                # 0: every image is an example. More: a case is one, and so many of its images at
                # most are drawn for it at each visit. Predictions always read all of them.
                "case_images": 0,
                # Column with the view of each image, and which view stands in which place of a
                # case; a case has one image of each at most in an example, and may lack some.
                "view": "",
                "views": (),
                # How training examples are drawn: "shuffled" epochs, or "balanced", every class
                # (combination of findings, event) equally often.
                "sampling": "shuffled",
                # One column with the class, or several findings with 0/1.
                "labels": (),
                # Order of the classes; () takes the sorted values of the training rows.
                "classes": (),
                # What an uncertain label (-1) is: error | ones | zeros | ignore | soft, which is
                # `soft_value`; and an empty one: error | negative | ignore. By label where
                # `label_policy` names it, e.g. {"Edema": {"uncertain": "ones"}}. See
                # `data.labels.LabelPolicy`.
                "uncertain": "error",
                "blank": "error",
                "soft_value": 0.5,
                "label_policy": {},
                # Columns of several readers who each name a class; their votes are the label.
                "readers": (),
                "site": "",
                "split": "",
                # Rows to train on and to validate on: column=value filters.
                "train": {},
                "validation": {},
                # Mappings with manifest, and optionally image, group, namespace, where: data whose
                # groups and images must not be among the training rows.
                "held_out": (),
                # Pictures whose fingerprints differ in so many bits or fewer count as one; -1
                # looks for equal files only. ours: measured, see docs/data_checks.md.
                "near_duplicates": NEAR_DUPLICATE_BITS,
                # Go on in spite of shared patients or images, and say so in every report.
                "allow_leakage": False,
                # Show hashes in place of group ids in messages.
                "redact": False,
                # Keep hashes of groups and images with the weights, for the leak guard of whoever
                # uses them later.
                "remember": True,
                "allow_outside": False,
                # What to do with images that cannot be used: "error" before training starts, or
                # "skip" them as long as they are no larger a share than `max_bad`.
                "on_bad_image": "error",
                "max_bad": 0.001,
                # Share of the training patients, nested and stratified by label, and which ones.
                "fraction": 1.0,
                "fraction_seed": 0,
                # Working size that the host brings images to, before the random crop.
                "size": 256,
                "channels": 3,
                "fit": "squash",
                # Turn colour images to grey where channels is 1, instead of refusing them.
                "to_grey": False,
                # Bits that pixels keep until the crop: 8, 16, or 0 for as many as the images have.
                "bits": 0,
                # DICOM: "file" for the window that it names, "full" for the range of its values,
                # or (centre, width); and which image of a file of several: error | first | middle.
                "window": "file",
                "frames": "error",
                # Decode JPEGs at a half, a quarter or an eighth where that is still no smaller
                # than `size`.
                "reduced": True,
                # Decode once and keep the pixels in memory, if they fit below this many MiB.
                "in_memory_mib": 1024,
                # Worker processes that decode when images are not kept in memory; 0 for threads,
                # of which there are as many as processors if `threads` is 0.
                "workers": 0,
                "threads": 0,
            },
            # final_norm: False to go on with weights whose features were taken before the last
            # GroupNorm and ReLU; value_range: (0.0, 1.0) for those that read unscaled images. Their
            # card says so, and what it says is checked.
            # remat: what is computed again going backward instead of being kept: none | unit |
            # stage. It changes memory and time, not numbers.
            "model": {
                "name": "r50x1",
                "stem": "bit",
                "compute_dtype": "float32",
                "remat": "none",
                "final_norm": True,
                "value_range": (-1.0, 1.0),
            },
            # `second_recipe` makes the second view of self-supervised methods, "" for the same as
            # the first. Options change single settings of both; `evaluation` those of the "eval"
            # recipe, which becomes part of the artefact's preprocessing.
            "augment": {
                "recipe": "simclr",
                "second_recipe": "",
                "size": 224,
                "options": {},
                "evaluation": {},
            },
            "optimizer": {
                "name": "lars",
                "learning_rate": 0.3,
                "scaling": "linear",
                "weight_decay": 1e-6,
                "momentum": 0.9,
                "nesterov": False,
                # Paths that get neither weight decay nor layer adaptation (official-code).
                "exclude": r"batch_normalization|bias|^head/",
                # "as_official" decays and adapts GroupNorm's gamma and beta, "exclude" does not.
                "group_norm": "as_official",
                # What the learning rate of excluded parameters is multiplied by.
                "excluded_rate": 1.0,
                # What the rate of each block is multiplied by for every block between it and the
                # head: 0.5 trains block4 at a half, block3 at a quarter, the root at 1/32 of it.
                "layer_decay": 1.0,
                # Global norm to clip gradients to; 0 for no clipping.
                "clip_norm": 0.0,
            },
            # cosine | constant | bit (HyperRule by the number of training images)
            "schedule": "cosine",
            # What is not trained: "" for nothing, "root", "block1" ... "block4" for all up to and
            # with that block, "encoder" for all but the head.
            "freeze": "",
            # Which parameters become the run's weights: the "last", or those with the "best"
            # validation by `select_metric` ("" for auroc), and after how many validations without
            # a better one training stops; 0 for never.
            "select": "last",
            "select_metric": "",
            "early_stopping": 0,
            # 0 for no moving average of the parameters.
            "ema_decay": 0.0,
            "checkpoints_to_keep": 2,
            # What self-supervision is watched on while it runs (see `evaluation.monitor`): some
            # images of the pool (0 switches it off), every so many steps (0: as many as keep it
            # below 2% of the time), and, where a manifest is named, k-NN and a linear probe on its
            # labels, which reach these numbers alone and are declared in the artefact's card.
            "monitor": {
                "images": 256,
                "steps": 0,
                "manifest": "",
                "image": "image",
                "group": "",
                "labels": (),
                "where": {},
                "allow_outside": False,
            },
            # What to do when the embeddings collapse: warn | stop | off. Collapsed is what stays
            # below `ratio` times its highest value for `patience` steps (all ours).
            "alarm": {"action": "warn", "ratio": 0.25, "patience": 20},
        }
    )
    # head_only: how long the encoder is held still at the start, so that a head which begins at
    # zero does not disturb it.
    for name in ("total", "warmup", "checkpoint", "validation", "head_only"):
        for unit in ("steps", "epochs", "examples", "percent"):
            if (name, unit) != ("total", "percent"):
                config[f"{name}_{unit}"] = _number()
    if stage == "supervised":
        config.objective = ConfigDict(_supervised_objective())
    else:
        # The defaults, with where they come from, stand in the method's own file.
        config.objective = ConfigDict(
            {
                field.name: field.default
                for field in dataclasses.fields(METHODS[stage])
                if field.default is not dataclasses.MISSING
            }
        )
    return config.lock()


def _supervised_objective() -> dict[str, Any]:
    """The settings of `objectives.supervised.Supervised`, where its defaults are explained."""
    return {
        # softmax | sigmoid | cox | discrete_time
        "kind": "softmax",
        # linear | mlp, and the width of the latter's hidden layer (ours: a quarter of R50's 2048).
        "head": "linear",
        "hidden": 512,
        # How the images of a case become one: mean | max | attention | concat (of its views).
        "pooling": "mean",
        # Width of gated attention (Ilse et al. 2018: 128).
        "attention_dim": 128,
        # Exponent of the focal loss (Lin et al. 2017 use 2); 0 for plain cross-entropy.
        "focal_gamma": 0.0,
        # none | balanced: each class by the inverse of its share among the training examples;
        # findings by negatives over positives.
        "class_weighting": "none",
        # Alpha of mixup; None for BiT-HyperRule's choice where the schedule is "bit", else 0.
        "mixup": _number(),
        # Of the survival kinds, in the unit of the time column: when risk is judged, and the ends
        # of the intervals of discrete_time.
        "horizon": 5.0,
        "intervals": (1.0, 2.0, 3.0, 4.0, 5.0),
    }


def _number():
    from ml_collections.config_dict import placeholder

    return placeholder(float)


def parse_arg(arg: str | None, **defaults: Any) -> ConfigDict:
    """Reads `model=r50x1,tiny` into the types of the defaults.

    Args:
        arg: Comma-separated `name=value`; a bare name sets a bool to True. None for no arguments.
        **defaults: Every argument that exists, with its default.

    Raises:
        UserError: An argument does not exist, or its value has another type.
    """
    values = ConfigDict(defaults).lock()
    for part in filter(None, (arg or "").split(",")):
        name, equals, text = part.partition("=")
        if name not in defaults:
            raise UserError(
                f"The config has no argument {name!r}.", f"It has {', '.join(defaults)}."
            )
        values[name] = _convert(name, text if equals else "True", defaults[name])
    return values


def _convert(name: str, text: str, default: Any) -> Any:
    """A value of the default's type from text."""
    if isinstance(default, str):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError) as error:
        raise UserError(
            f"{name}={text} is not a {type(default).__name__}.", f"The default is {default!r}."
        ) from error
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if default is None or type(value) is type(default):
        return value
    raise UserError(
        f"{name}={text} is not a {type(default).__name__}.", f"The default is {default!r}."
    )


def find_config_file(name: str) -> Path:
    """A config file by path, or by its path within the project's `experiments/` folder.

    Raises:
        UserError: There is no such file.
    """
    path = Path(name)
    beside_package = Path(__file__).resolve().parents[2] / path
    for candidate in (path, beside_package):
        if candidate.is_file():
            return candidate
    raise UserError(
        f"Config file {name} does not exist.",
        "Give the path of a Python file with get_config, e.g. experiments/contrastive/simclr.py.",
    )


def load_config(spec: str, overrides: tuple[str, ...] = ()) -> ConfigDict:
    """Loads `FILE.py[:ARGUMENTS]` and applies overrides.

    Args:
        spec: E.g. `experiments/contrastive/simclr.py:model=r50x1,tiny`.
        overrides: E.g. `("optimizer.learning_rate=0.1",)`.

    Returns:
        A locked config.

    Raises:
        UserError: The file or a key does not exist, or a value has the wrong type.
    """
    file, _, arg = spec.partition(":")
    path = find_config_file(file)
    module_spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    module = importlib.util.module_from_spec(module_spec)
    try:
        module_spec.loader.exec_module(module)
        config = module.get_config(arg or None)
    except AttributeError as error:
        raise UserError(f"{path}: {_one_line(error)}", "Correct the config file.") from error
    apply_overrides(config, overrides)
    return config.lock()


def apply_overrides(config: ConfigDict, overrides: tuple[str, ...]) -> None:
    """Sets `dotted.key=value` pairs in place.

    A duration that is given in one unit takes the place of the config's in another:
    `total_steps=100` blanks `total_epochs`. Two units of one duration are both kept, and refused
    when the run begins.

    Raises:
        UserError: A key does not exist (naming the nearest) or a value has the wrong type.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise UserError(f"Override {override!r} has no value.", "Write key=value.")
        *parents, name = key.split(".")
        node = config
        try:
            for parent in parents:
                node = node[parent]
            if not isinstance(node, ConfigDict):
                raise KeyError(f"{'.'.join(parents)} has no fields.")
            # A placeholder has no value to take the type from.
            current = node[name]
            free = node.is_type_safe is False or name in FREE_FORM
            value = _literal_or_text(text) if free or current is None else None
            if value is None:
                value = _convert(key, text, current)
            node[name] = value
        except KeyError as error:
            raise UserError(f"Unknown config key {key}: {_one_line(error)}") from error
        except (TypeError, ValueError) as error:
            raise UserError(f"Config key {key}: {_one_line(error)}") from error
    given = {override.partition("=")[0] for override in overrides}
    for key in given & set(config.keys()):
        for other in other_units(key):
            if config[key] is not None and other in config and other not in given:
                config[other] = None


# Keys whose values are themselves mappings of the user's own names.
FREE_FORM = (
    "train", "validation", "options", "evaluation", "held_out", "where", "tiles", "label_policy",
    "window",
)  # fmt: skip


def _literal_or_text(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _one_line(error: Exception) -> str:
    text = " ".join(str(error.args[0] if error.args else error).split())
    return re.sub(r"^'(.*)'$", r"\1", text)


def to_json(config: ConfigDict) -> dict[str, Any]:
    """The resolved config as plain JSON values, tuples as lists."""
    return json.loads(json.dumps(config.to_dict()))


def differing_keys(a: dict[str, Any], b: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys whose values differ between two configs from `to_json`."""
    keys = []
    for name in sorted(a.keys() | b.keys()):
        left, right = a.get(name), b.get(name)
        if isinstance(left, dict) and isinstance(right, dict):
            keys += differing_keys(left, right, f"{prefix}{name}.")
        elif left != right:
            keys.append(f"{prefix}{name}")
    return keys
