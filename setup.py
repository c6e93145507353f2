"""Installation: `pip install .`, with extras for what not everybody needs."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (ROOT / "remedis_jax/__init__.py").read_text(), re.MULTILINE
)[1]

DICOM = ["pydicom>=3", "pylibjpeg", "pylibjpeg-openjpeg"]
# Tiles of whole slides.
SLIDES = ["openslide-bin", "openslide-python", "tiffslide"]
# The workbook of the TCGA-CDR.
XLSX = ["openpyxl"]
# HDF5 files of the pathology tools.
H5 = ["h5py"]
# Sweeps as jobs of a cluster.
CLUSTER = ["submitit>=1.5"]
ONNX = ["onnx", "onnxruntime"]
SERVE = ["fastapi", "fastapi-offline", "python-multipart", "uvicorn"]
TF = ["tensorflow-cpu"]
TORCH = ["timm", "torch", "torchvision", "transformers"]

setup(
    name="remedis_jax",
    version=VERSION,
    description="Medical imaging with few labels by self-supervision (REMEDIS), in JAX",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(
        include=["remedis_jax", "remedis_jax.*", "experiments", "experiments.*"]
    ),
    package_data={
        "experiments": ["reproductions.csv"],
        "remedis_jax.report": ["templates/*.html", "templates/*.md"],
        "remedis_jax.data.tfds_sets": ["*/README.md", "*/CITATIONS.bib", "*/TAGS.txt"],
    },
    install_requires=[
        "absl-py",
        "array_record",
        "clu",
        # jax.export writes its files with it.
        "flatbuffers",
        "flax",
        "grain",
        "jax>=0.10,<0.13",
        "jinja2",
        "markdown-it-py",
        "matplotlib>=3.10",
        "ml-collections",
        "numpy",
        "opencv-python-headless>=5",
        "optax",
        "orbax-checkpoint",
        "pandas",
        "pillow",
        "pyarrow",
        "rich",
        "safetensors",
        "scikit-learn",
        "scipy",
        "simplejpeg",
        "tensorboardX",
        "tensorflow-datasets",
        "threadpoolctl",
        "typer",
    ],
    extras_require={
        "tpu": ["jax[tpu]>=0.10,<0.13"],
        "cuda": ["jax[cuda13]>=0.10,<0.13"],
        "cluster": CLUSTER,
        "dicom": DICOM,
        "h5": H5,
        "onnx": ONNX,
        "serve": SERVE,
        "slides": SLIDES,
        "tf": TF,
        "torch": TORCH,
        "xlsx": XLSX,
        "dev": [
            "pytest", "pytest-timeout", "pytest-xdist", "ruff", "tensorboard", "pydicom-data",
            "scikit-survival", "statsmodels", *CLUSTER, *DICOM, *H5, *SERVE, *SLIDES,
        ],
        # PyTorch, TensorFlow and onnxruntime as independent implementations; only tests/oracles
        # needs them.
        "oracles": [
            "pytest", "pytest-timeout", *ONNX, *TF, "torch==2.13.0", "transformers",
        ],
    },
    entry_points={"console_scripts": ["remedis = remedis_jax.cli.main:main"]},
)
