"""Runs an exported folder in PyTorch; started by `worker_process.run_worker`, never imported.

Imports the standard library, numpy, PyTorch, safetensors and timm or transformers, nothing else.
`job.json` has "folder" and "layout"; `arrays.npz` has "images", float32 [N, H, W, 3] in [0, 1].
They are normalised as the folder's own files say, and the model is built as its README says.
"""

import functools
import json
import sys
from pathlib import Path

import numpy as np

_BATCH = 4


def _timm(folder: Path):
    """(model, function from its input to features and logits, mean, std)."""
    import timm
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text())
    weights, classes = folder / "model.safetensors", config["num_classes"]
    if config["architecture"]:
        model = timm.create_model(
            config["architecture"], num_classes=classes, checkpoint_path=str(weights)
        )
    else:
        from timm.layers import StdConv2d
        from timm.models.resnetv2 import ResNetV2

        arguments = config["remedis_jax"]["timm.models.resnetv2"]
        convolution = functools.partial(StdConv2d, eps=1e-8)
        model = ResNetV2(num_classes=classes, conv_layer=convolution, **arguments)
        model.load_state_dict(load_file(weights), strict=True)

    def outputs(images):
        maps = model.forward_features(images)
        features = model.forward_head(maps, pre_logits=True)
        return features, model.forward_head(maps) if classes else None

    described = config["pretrained_cfg"]
    return model, outputs, described["mean"], described["std"]


def _transformers(folder: Path):
    """(model, function from its input to features and logits, mean, std)."""
    import transformers

    config = json.loads((folder / "config.json").read_text())
    name = config["architectures"][0]
    model, loading = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    problems = {what: list(names) for what, names in loading.items() if names}
    if problems:
        raise RuntimeError(f"transformers did not load every tensor: {problems}")

    def outputs(images):
        if name == "BitModel":
            return model(images).pooler_output.flatten(1), None
        features = model.bit(images).pooler_output
        return features.flatten(1), model.classifier(features)

    described = json.loads((folder / "preprocessor_config.json").read_text())
    return model, outputs, described["image_mean"], described["image_std"]


def main(job_folder: Path) -> dict:
    import torch

    job = json.loads((job_folder / "job.json").read_text())
    folder = Path(job["folder"])
    library, build = {"timm": ("timm", _timm), "hf": ("transformers", _transformers)}[job["layout"]]
    model, outputs, mean, deviation = build(folder)
    model.eval()
    with np.load(job_folder / "arrays.npz", allow_pickle=False) as arrays:
        images = arrays["images"]
    images = (images - np.float32(mean)) / np.float32(deviation)
    kind = json.loads((folder / "config.json").read_text())["remedis_jax"].get("kind")
    results = {"features": [], "logits": [], "probabilities": []}
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            batch = torch.from_numpy(
                np.ascontiguousarray(images[start : start + _BATCH].transpose(0, 3, 1, 2))
            )
            features, logits = outputs(batch)
            results["features"].append(features.numpy())
            if logits is not None:
                squashed = logits.softmax(-1) if kind == "softmax" else logits.sigmoid()
                results["logits"].append(logits.numpy())
                results["probabilities"].append(squashed.numpy())
    np.savez(
        job_folder / "results.npz",
        **{name: np.concatenate(parts) for name, parts in results.items() if parts},
    )
    return {"versions": {name: sys.modules[name].__version__ for name in ("torch", library)}}


if __name__ == "__main__":
    place = Path(sys.argv[1])
    (place / "report.json").write_text(json.dumps(main(place)))
