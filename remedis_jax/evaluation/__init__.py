"""Predictions, metrics, patient bootstrap, data efficiency. Where to find what:

Predictions: `predictions` is the table that every number comes from, `prediction_schema` what it
has to be, `aggregate` makes patients of images, `predict` and `model` fill it from weights,
`judged` holds the seeds of an arm together. Tables of other tools: `foreign_columns` (with
`foreign_scores`, `foreign_findings`, `column_roles`, `score_sources`, `table_files`) and
`foreign_embeddings`.

Numbers: `metrics` names them, `point_values` and `survival` compute them, `binary_problems` says
of what, `operating_point` chooses thresholds, `scorable` and `not_defined` say why there is none.
Intervals: `bootstrap`, on the resamples of `resampling`, by the fast forms of `resampled`
(`weighted_curves`, `ranks`), of any other statistic by `drawn_runs`; `same_images` keeps pairs
honest.

Beyond the average: `calibration`, `calibration_line`, `reliability`, `decision_curve`,
`subgroups` (by `characteristics`), `failures`; `saliency`, `saliency_check`, `explained`,
`explained_examples`; `embedding_map`.

Data efficiency: `data_efficiency` runs the experiment, `experiment_parts` are its rows,
`experiment_selection` says what chose what, `experiment_cells` what it leaves; `curves`,
`label_saving` and `non_inferiority` are the answer. Probes of any encoder: `probe_run`, of
`probe`, `probe_data`, `probe_draws`, `probe_protocol`, `probe_record`.

Weights at work: `finetuning`, `validation`, `guard`; `embedding_run`, `embedding_files`, `embed`,
`prepared`, `batch_size`; `monitor`, `representation`, `histograms`.
"""
