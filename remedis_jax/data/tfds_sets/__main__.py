"""Builds a data set from the command line: ``python -m remedis_jax.data.tfds_sets --help``."""

import argparse
import sys

from remedis_jax.data.tfds_sets.prepare import instructions, names, prepare
from remedis_jax.errors import RemedisError


def main() -> None:
    """Builds one data set, or says what to download for it."""
    parser = argparse.ArgumentParser(
        prog="python -m remedis_jax.data.tfds_sets",
        description="Build a public stand-in data set as array_record, without TensorFlow.",
    )
    parser.add_argument("name", choices=names())
    parser.add_argument("--manual-dir", help="what you downloaded; without it, says what to")
    parser.add_argument("--data-dir", help="where TFDS keeps data sets")
    parser.add_argument("--overwrite", action="store_true", help="build again what is there")
    parser.add_argument("--beam-runner", help="build by Apache Beam, such as DirectRunner")
    parser.add_argument(
        "--beam-options", default="", help="of the runner, such as direct_num_workers=4,name=value"
    )
    chosen = parser.parse_args()
    if not (chosen.manual_dir and chosen.data_dir):
        print(instructions(chosen.name))
        return
    try:
        builder = prepare(
            chosen.name,
            chosen.manual_dir,
            chosen.data_dir,
            overwrite=chosen.overwrite,
            beam_runner=chosen.beam_runner,
            beam_options=_beam_options(chosen.beam_options),
        )
    except RemedisError as error:
        print(f"remedis: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    for split, about in builder.info.splits.items():
        print(f"tfds:{chosen.name}:{split}  {about.num_examples:,} examples")
    print(f"in {builder.data_path}")


def _beam_options(text: str) -> dict[str, object]:
    """From ``name=value,name=value``; a name alone is a switch."""
    options: dict[str, object] = {}
    for part in filter(None, text.split(",")):
        name, given, value = part.strip().partition("=")
        options[name] = (int(value) if value.isdigit() else value) if given else True
    return options


if __name__ == "__main__":
    main()
