"""Builds one of these data sets, without TensorFlow."""

import importlib
import os
import pkgutil
from collections.abc import Mapping
from typing import Any

from remedis_jax.data.messages import did_you_mean
from remedis_jax.errors import UserError


def names() -> tuple[str, ...]:
    """The data sets that can be built, in alphabetical order."""
    import remedis_jax.data.tfds_sets as package

    found = pkgutil.iter_modules(package.__path__)
    return tuple(sorted(module.name for module in found if module.ispkg))


def builder_class(name: str) -> type:
    """The TFDS builder of a data set; importing it makes it known to `tfds.builder` as well.

    Raises:
        UserError: There is no such data set.
    """
    if name not in names():
        raise UserError(
            f"There is no builder for a data set {name!r}.{did_you_mean(name, names())}",
            f"There are {', '.join(names())}.",
        )
    module = importlib.import_module(f"{__package__}.{name}.{name}_dataset_builder")
    return module.Builder


def instructions(name: str) -> str:
    """What to download by hand for a data set, and where to put it.

    Raises:
        UserError: There is no such data set.
    """
    lines = builder_class(name).MANUAL_DOWNLOAD_INSTRUCTIONS.strip("\n").rstrip().split("\n")
    return "\n".join(line.removeprefix("    ") for line in lines)


def prepare(
    name: str,
    manual_dir: str | os.PathLike,
    data_dir: str | os.PathLike,
    *,
    file_format: str = "array_record",
    overwrite: bool = False,
    beam_runner: Any = None,
    beam_options: Mapping[str, Any] | None = None,
) -> Any:
    """Builds a data set from the files that its user has downloaded.

    Args:
        name: One of `names()`.
        manual_dir: The downloaded files, laid out as `instructions(name)` say. Where Beam has
            workers on other machines, a place that all of them reach.
        data_dir: Where TFDS keeps data sets. What is there already is kept and used.
        file_format: A format of TFDS; 'array_record' (ours) can be read at random.
        overwrite: Build again what is there already.
        beam_runner: Of apache_beam, such as 'DirectRunner', to build by Beam; None for none.
        beam_options: Options of Beam, such as {'direct_num_workers': 4}; needs a runner.

    Returns:
        The builder; ``builder.as_data_source(split)`` reads.

    Raises:
        UserError: There is no such data set, or the files are not as they should be.
    """
    import tensorflow_datasets as tfds
    from etils import epath

    builder_of = builder_class(name)
    folder = epath.Path(manual_dir)
    if not folder.is_dir() or not any(folder.iterdir()):
        raise UserError(
            f"{os.fspath(manual_dir)}: there is no such folder, or nothing in it.",
            f"Download the data first; 'remedis prepare {name}' says from where.",
        )
    builder = builder_of(data_dir=os.fspath(data_dir), file_format=file_format)
    modes = tfds.download.GenerateMode
    mode = modes.REUSE_CACHE_IF_EXISTS if overwrite else modes.REUSE_DATASET_IF_EXISTS
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(
            manual_dir=folder,
            download_mode=mode,
            # These are not among the data sets that TFDS hosts.
            try_download_gcs=False,
            beam_runner=beam_runner,
            beam_options=_pipeline_options(beam_runner, beam_options or {}),
        )
    )
    return builder


def _pipeline_options(runner: Any, options: Mapping[str, Any]) -> Any:
    if runner is None:
        if options:
            raise UserError("Options of Beam do nothing without a runner.", "Name the runner.")
        return None
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise UserError(
            "apache_beam, which a runner needs, is not installed.", "pip install apache-beam."
        ) from None
    # Without flags given, Beam would read those of the command that runs it.
    return PipelineOptions(flags=[], **options)
