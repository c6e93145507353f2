"""What the builders of this package share: all is checked first, then example by example made.

`records` reads the tables and looks at the folders, so that whatever is missing or surplus is
said before anything is written. `example` then reads one image, either here one after the other or
in the workers of Apache Beam.

Nothing here needs TensorFlow. Images are passed on as encoded bytes, since TFDS encodes pixels by
TensorFlow only.
"""

import sys
from collections.abc import Iterable
from typing import Any

import tensorflow_datasets as tfds
from etils import epath

from remedis_jax.data.tfds_sets.files import read_file
from remedis_jax.errors import UserError

# A key that is unique in its split, and the features; paths stand for the contents of files.
Record = tuple[str, dict[str, Any]]

# As TFDS names them for CheXpert.
FOUR_STATES = ("uncertain", "positive", "negative", "unmentioned")
TWO_STATES = ("negative", "positive")
# Where a grade is not given: a class of its own, so that the label policy can decide.
UNGRADED = "ungraded"


class StandInBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A data set that its user downloads by hand.

    Subclasses say `records`, and `example` where an example is more than an image file beside
    text. Both are static, so that the workers of Beam need the class and no builder.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    _in_beam = False

    def __init_subclass__(cls, **options: Any) -> None:
        # TFDS 4.9.10 finds the file of a class by a package that it requires of Python 3.8 only.
        cls.code_path = epath.Path(sys.modules[cls.__module__].__file__)
        super().__init_subclass__(**options)

    @staticmethod
    def records(folder: epath.Path) -> dict[str, list[Record]]:
        """Reads and checks the tables, and finds the files.

        Args:
            folder: What MANUAL_DOWNLOAD_INSTRUCTIONS describe.

        Returns:
            The records of each split.

        Raises:
            UserError: Something is missing, surplus, repeated or not understood.
        """
        raise NotImplementedError

    @staticmethod
    def example(record: Record) -> Record:
        """The record with the bytes of the file in place of its path under 'image'.

        Raises:
            UserError: The file cannot be read.
        """
        key, features = record
        return key, {**features, "image": read_file(features["image"])}

    def _download_and_prepare(self, dl_manager: Any, download_config: Any) -> None:
        # TFDS decides between the two ways by what `_split_generators` returns, and does not tell
        # it which one the caller asked for.
        self._in_beam = not (
            download_config.beam_runner is None and download_config.beam_options is None
        )
        super()._download_and_prepare(dl_manager, download_config)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        folder = epath.Path(dl_manager.manual_dir)
        checked = self.records(folder)
        for split, records in checked.items():
            if not records:
                raise UserError(f"{folder}: split {split!r} has no rows.", "Download it again.")
        if not self._in_beam:
            return {split: self._generate_examples(checked[split]) for split in checked}
        return {split: self._examples_in_beam(split, str(folder)) for split in checked}

    def _generate_examples(self, records: Iterable[Record]) -> Iterable[Record]:
        return map(self.example, records)

    def _examples_in_beam(self, split: str, folder: str) -> Any:
        import apache_beam as beam

        # A worker reads the tables again: runners limit the size of a pipeline, and the records of
        # a large data set are over it.
        source = type(self)
        return (
            beam.Create([split])
            | beam.FlatMap(lambda wanted: source.records(epath.Path(folder))[wanted])
            | beam.Reshuffle()
            | beam.Map(source.example)
        )
