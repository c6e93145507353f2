"""Every self-supervised method from one start, judged by k-NN on frozen features.

Command:   python -m experiments.methods.compare phantom --out runs/methods/phantom
           python -m experiments.methods.compare ham10000 --data FOLDER --out runs/methods/ham10000
           (FOLDER holds cifar10/ and ham10000/; --methods simclr,byol for some of them,
           --steps 1200 for longer runs)
Hardware:  two CPU cores.
Time:      see docs/reproduction.md.
Expected:  see docs/reproduction.md.

All methods start from the same network, trained on natural images, and make the same number of
steps on the same unlabelled pool with the same views, batch and optimiser; heads are small enough
for a laptop. The learning rate of each is the better of two by k-NN on the validation patients.
Then the features of the training patients' images vote (20 neighbours) on those of the test
patients, who chose nothing. Repeating the command goes on where it stopped.
"""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np
import pandas as pd
import scipy.stats
import typer
from ml_collections import ConfigDict

from experiments.public.prepare import prepare_natural, prepare_t1
from remedis_jax import api
from remedis_jax.augment import get_recipe
from remedis_jax.cli.console import Announcer, disk_errors
from remedis_jax.cli.main import run_and_exit
from remedis_jax.data.dataset import Dataset, open_evaluation
from remedis_jax.data.labels import infer_label_spec
from remedis_jax.data.manifest import Columns, read_manifest
from remedis_jax.data.phantom import PhantomSize, write_phantom
from remedis_jax.errors import UserError
from remedis_jax.evaluation.embed import features_of
from remedis_jax.evaluation.representation import knn_predict, knn_scores
from remedis_jax.objectives.methods import METHODS
from remedis_jax.training.compilation_cache import enable_compilation_cache
from remedis_jax.training.config import load_config, stage_config
from remedis_jax.training.sharding import make_mesh
from remedis_jax.weights.architecture import encoder_spec
from remedis_jax.weights.artifact import load_artifact
from remedis_jax.weights.contract import Contract

# ours: heads, queue and momentum for batches of 128 and a few hundred steps.
SMALL = {
    "simclr": {"temperature": 0.2},
    "micle": {"temperature": 0.2},
    "moco_v2": {"queue_size": 1024, "momentum": 0.99},
    "moco_v3": {"hidden_dim": 512, "head_dim": 128, "temperature": 0.2},
    "relic": {"hidden_dim": 512, "head_dim": 128, "temperature": 0.2, "momentum": 0.99},
    "barlow_twins": {"projector": (512, 512, 512)},
    "byol": {"hidden_dim": 512, "head_dim": 128, "momentum": 0.99},
    "vicreg": {"projector": (512, 512, 512)},
}
LEARNING_RATES = (5e-4, 2e-3)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What methods are compared on.

    Attributes:
        natural: Config of the supervised start.
        contrastive: Config of SimCLR, whose data, views, batch and optimiser all methods share.
        labelled: Manifest with `split` train, val and test.
        label: Its column with the class.
        group: Its column that is never split.
        case: The pool's column whose images are MICLe's pairs.
    """

    natural: ConfigDict
    contrastive: ConfigDict
    labelled: Path
    label: str
    group: str
    case: str


def phantom(out: Path, tiny: bool) -> Setting:
    data = out / "data"
    scale = PhantomSize.tiny() if tiny else PhantomSize(hospital_a_train=40)
    write_phantom(data, size=32, scale=scale)
    config = load_config(
        f"experiments/data_efficiency/phantom.py:data={data}" + (",tiny" if tiny else "")
    )
    manifest = data / "labelled" / "manifest.csv"
    stages = (config.stages.natural, config.stages.contrastive)
    return Setting(*stages, manifest, "finding", "patient_id", "patient_id")


def ham10000(out: Path, source: Path, tiny: bool) -> Setting:
    (out / "data").mkdir(parents=True, exist_ok=True)
    prepare_natural(source, out / "data")
    prepare_t1(source, out / "data")
    config = load_config(
        f"experiments/data_efficiency/ham10000.py:data={out / 'data'},size=32"
        + (",tiny" if tiny else "")
    )
    natural, contrastive = config.stages.natural, config.stages.contrastive
    if not tiny:
        with contrastive.unlocked():
            contrastive.total_steps = 300.0
    return Setting(natural, contrastive, out / "data" / "t1_labelled.csv", "dx", "lesion_id",
                   "lesion_id")  # fmt: skip


def method_config(method: str, setting: Setting, rate: float, start: Path) -> ConfigDict:
    """The shared stage with another objective."""
    config = stage_config(method)
    objective = config.objective
    with config.unlocked():
        for name, value in setting.contrastive.items():
            if name not in ("stage", "objective"):
                config[name] = value.copy_and_resolve_references() if isinstance(
                    value, ConfigDict
                ) else value
    config.objective = objective
    for name, value in SMALL[method].items():
        config.objective[name] = value
    config.init = str(start)
    config.optimizer.learning_rate = rate
    config.monitor.images = 128
    if method == "micle":
        config.data.case = setting.case
    return config.lock()


def split_of(setting: Setting, card: dict, split: str) -> Dataset:
    """The labelled images of one split in the working format of the weights."""
    data = api.data_config(card, setting.labelled, {"label": setting.label, "site": "",
                                                     "group": setting.group, "split": "split"})
    data.allow_outside = True
    columns = Columns(group=setting.group, labels=(setting.label,), split="split")
    manifest = read_manifest(setting.labelled, columns, allow_outside=True)
    return open_evaluation(data, infer_label_spec(manifest, kind="softmax"), {"split": split})


class Embedder:
    """Features of a split under some weights."""

    def __init__(self, setting: Setting, card: dict):
        self.setting, self.card, self.mesh = setting, card, make_mesh()
        self.contract = Contract.from_json(card["preprocessing"])
        self.splits = {s: split_of(setting, card, s) for s in ("train", "val", "test")}

    def __call__(self, encoder, split: str) -> np.ndarray:
        name, options = self.contract.device
        return features_of(
            encoder, self.splits[split].source, encoder=encoder_spec(self.card),
            recipe=get_recipe(name, **dict(options)), size=self.contract.size, mesh=self.mesh,
        )  # fmt: skip

    def labels(self, split: str) -> np.ndarray:
        return self.splits[split].labels


def evaluate(name: str, encoder, embed: Embedder) -> pd.DataFrame:
    """One row per test image: what the k nearest training images say, and whether it is right."""
    predicted = knn_predict(embed(encoder, "train"), embed.labels("train"), embed(encoder, "test"))
    labels = embed.labels("test")
    groups = list(embed.splits["test"].manifest.groups)
    return pd.DataFrame(
        {"method": name, "group": groups, "label": labels, "right": predicted == labels}
    )


def difference(rows: pd.DataFrame, baseline: pd.DataFrame) -> tuple[float, float, float]:
    """Accuracy minus that of a baseline, with a 95% bootstrap interval over patients."""
    change = rows.right.astype(float).to_numpy() - baseline.right.astype(float).to_numpy()
    by_group = pd.DataFrame({"group": rows.group, "change": change}).groupby("group").change
    sums, counts = by_group.sum().to_numpy(), by_group.count().to_numpy()
    interval = scipy.stats.bootstrap(
        (sums, counts), lambda s, n, axis: s.sum(axis) / n.sum(axis), paired=True,
        method="percentile", vectorized=True, n_resamples=2000, rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return sums.sum() / counts.sum(), interval.low, interval.high


def compare(setting: Setting, out: Path, methods: list[str], announce) -> pd.DataFrame:
    """Trains what is not trained yet, and scores all of it."""
    announce("supervised training on natural images")
    natural = api.train(setting.natural, out / "natural").weights
    runs = {}
    for method in methods:
        for rate in LEARNING_RATES:
            folder = out / method / f"rate{rate:g}"
            announce(f"{method}, learning rate {rate:g}")
            config = method_config(method, setting, rate, natural)
            runs[method, rate] = api.train(config, folder, announce=announce).weights
            api.write_report(folder)

    card = load_artifact(next(iter(runs.values()))).card
    embed = Embedder(setting, card)
    # The network that the natural stage itself started from.
    from remedis_jax.models.bit import BiT
    from remedis_jax.models.parameters import initialise

    view = np.zeros((2, embed.contract.size, embed.contract.size, 3), "f")
    untrained = initialise(BiT(encoder_spec(card)), setting.natural.seed, view)["params"]
    tables = {
        "untrained": evaluate("untrained", untrained, embed),
        "natural": evaluate("natural", load_artifact(natural).params["encoder"], embed),
    }
    chosen = {"untrained": "", "natural": ""}
    for method in methods:
        scores = {}
        for rate in LEARNING_RATES:
            encoder = load_artifact(runs[method, rate]).params["encoder"]
            given = (embed(encoder, "train"), embed.labels("train"))
            given += (embed(encoder, "val"), embed.labels("val"))
            scores[rate] = knn_scores(*given)["knn_accuracy"]
        best = max(scores, key=scores.get)
        chosen[method] = f"{best:g}"
        encoder = load_artifact(runs[method, best]).params["encoder"]
        tables[method] = evaluate(method, encoder, embed)

    rows = []
    for name, table in tables.items():
        recall = table.groupby("label").right.mean().mean()
        row = {"start": name, "learning rate": chosen[name], "accuracy": table.right.mean(),
               "balanced accuracy": recall}  # fmt: skip
        for baseline in ("untrained", "natural"):
            change, low, high = difference(table, tables[baseline])
            row |= {f"minus {baseline}": change, f"{baseline} low": low, f"{baseline} high": high}
        rows.append(row)
    result = pd.DataFrame(rows)
    majority = embed.splits["test"].labels
    result.attrs["majority"] = float(np.bincount(majority).max() / len(majority))
    return result


def draw(result: pd.DataFrame, path: Path) -> None:
    """Difference to the natural start, with its interval, by method."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = result[~result.start.isin(["natural"])].iloc[::-1]
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    centre = rows["minus natural"]
    errors = np.stack([centre - rows["natural low"], rows["natural high"] - centre])
    axes.errorbar(centre, range(len(rows)), xerr=errors, fmt="o", capsize=3, color="#0b5394")
    axes.axvline(0, color="0.4", linewidth=1)
    axes.set_yticks(range(len(rows)), rows.start)
    axes.set_xlabel("k-NN accuracy minus that of the natural-image start (95% interval, patients)")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def write(result: pd.DataFrame, out: Path, announce) -> None:
    result.to_csv(out / "knn.csv", index=False)
    (out / "knn.json").write_text(json.dumps(result.attrs) + "\n")
    draw(result, out / "knn.png")
    lines = ["| start | rate | k-NN accuracy | balanced | minus untrained | minus natural |",
             "| :-- | --: | --: | --: | --: | --: |"]  # fmt: skip
    for _, row in result.iterrows():
        changes = [
            f"{row[f'minus {b}']:+.3f} ({row[f'{b} low']:+.3f} to {row[f'{b} high']:+.3f})"
            for b in ("untrained", "natural")
        ]
        lines.append(f"| {row.start} | {row['learning rate']} | {row.accuracy:.3f} | "
                     f"{row['balanced accuracy']:.3f} | {changes[0]} | {changes[1]} |")  # fmt: skip
    lines.append("")
    lines.append(f"always the commonest class: {result.attrs['majority']:.3f}")
    text = "\n".join(lines) + "\n"
    (out / "knn.md").write_text(text)
    announce("table, CSV and figure: " + ", ".join(str(out / f"knn.{e}") for e in ("md", "csv",
                                                                                     "png")))
    print(text)


def main(
    images: Annotated[str, typer.Argument(help="phantom or ham10000")],
    out: Annotated[Path, typer.Option(help="Folder of all runs.")],
    data: Annotated[Path | None, typer.Option(help="Folder with ham10000/ and cifar10/.")] = None,
    methods: Annotated[str, typer.Option(help="Which, separated by commas.")] = ",".join(METHODS),
    steps: Annotated[int, typer.Option(help="Of each method; 0 for 260 or 300.", min=0)] = 0,
    tiny: Annotated[bool, typer.Option(help="A few steps only.")] = False,
) -> None:
    """Train every method on one pool and compare their features by k-NN."""
    wanted = methods.split(",")
    unknown = sorted(set(wanted) - set(METHODS))
    if unknown:
        raise UserError(f"There is no method {unknown[0]!r}.", f"Use {', '.join(METHODS)}.")
    if images not in ("phantom", "ham10000") or (images == "ham10000") != (data is not None):
        raise UserError(
            f"{images!r} with --data {data} is not understood.",
            "Use phantom, or ham10000 with --data.",
        )
    enable_compilation_cache()
    announce = Announcer()
    with disk_errors():
        setting = phantom(out, tiny) if data is None else ham10000(out, data, tiny)
        if steps:
            with setting.contrastive.unlocked():
                setting.contrastive.total_steps = float(steps)
        write(compare(setting, out, wanted, announce), out, announce)


if __name__ == "__main__":
    run_and_exit(lambda: typer.run(main))
