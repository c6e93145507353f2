"""Tables, figures and the page that a clinician and a reviewer read. Where to find what:

The page: `page` lists the reports, `document` and `rendered` write them, `tables` and `wording`
turn numbers to text, `figures` holds the style. Reports: `experiment` (of `experiment_record`,
`_results`, `_tables`, `_figures`, `_facts`), `overview` of several (`overview_*`),
`prediction_files` (`prediction_*`, `scored_parts`, `classified`, `survived`, `compared_files`),
`probe_page` (`probe_*`), `run`, `explanation` (`explanation_words`, `saliency_figure`),
`data_check` (`manifest_check`, `contact_sheet`), `model_card` (`card_*`).

Sections that reports share: `saving_section`, `beyond` (`calibration_section`,
`decision_section`, `subgroup_section`, `failure_section`; `judged_words`), `embedding_section`,
`flow_section`, `demographics_section`, `checklist_section` (`checklist_items`), `leak_section`,
`label_section`, `provenance_section`. What a section draws is in the file of the same name with
`_figure`, and `forest_figure`, `reliability_figure`, `failure_sheet`, `fraction_axis`.
"""
