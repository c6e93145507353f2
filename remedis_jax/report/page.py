"""The report pages: one function per thing that can be reported on."""

from remedis_jax.report.document import Document, Section, write_report
from remedis_jax.report.experiment import report_from_experiment
from remedis_jax.report.overview import report_from_experiments
from remedis_jax.report.prediction_files import report_from_predictions
from remedis_jax.report.run import report_from_run
from remedis_jax.report.tables import print_tables

__all__ = [
    "Document",
    "Section",
    "print_tables",
    "report_from_experiment",
    "report_from_experiments",
    "report_from_predictions",
    "report_from_run",
    "write_report",
]
