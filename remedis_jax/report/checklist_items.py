"""What reporting guidelines ask of a study of medical images, in our own words, item by item.

CLAIM, 2024 update: Tejani et al. 2024, Radiology: Artificial Intelligence 6(4):e240300, 44 items.
TRIPOD+AI: Collins et al. 2024, BMJ 385:e078378, 27 items with 52 parts.
The numbers are theirs. Which facts answer an item, and what is left for authors, is our reading.
"""

import dataclasses

CLAIM = "CLAIM 2024"
TRIPOD_AI = "TRIPOD+AI"
SOURCES = {
    CLAIM: "Tejani et al. 2024, doi 10.1148/ryai.240300",
    TRIPOD_AI: "Collins et al. 2024, doi 10.1136/bmj-2023-078378",
}


@dataclasses.dataclass(frozen=True)
class Item:
    """One thing that a guideline asks for.

    Attributes:
        standard: `CLAIM` or `TRIPOD_AI`.
        number: As in the guideline.
        group: Where in a paper it belongs.
        asks: What is asked.
        keys: Facts that answer it, see `checklist_section.FACTS`; () for what no tool can know.
        left: What stays for the authors even where all of them are known; "" for nothing.
    """

    standard: str
    number: str
    group: str
    asks: str
    keys: tuple[str, ...] = ()
    left: str = ""


def _items(standard: str, groups: dict[str, list[tuple]]) -> tuple[Item, ...]:
    return tuple(
        Item(standard, number, group, *rest)
        for group, rows in groups.items()
        for number, *rest in rows
    )


CLAIM_ITEMS = _items(CLAIM, {
    "Title and abstract": [
        ("1", "The kind of AI is named at the start", ("technique",), "put it into the title"),
        ("2", "A summary of design, methods, results and conclusions", ("summary",),
         "design and conclusions in the abstract"),
    ],
    "Introduction": [
        ("3", "The clinical problem, and what the model would be used for"),
        ("4", "Aims and hypotheses", ("objective",), "hypotheses, and when they were set down"),
    ],
    "Methods: design": [
        ("5", "Whether data were collected before or for this study"),
        ("6", "What the study is to achieve", ("objective",), "whether that was a feasibility, "
         "superiority or other kind of study"),
    ],
    "Methods: data": [
        ("7", "Where the data come from", ("data_sources",), "how and when they were gathered"),
        ("8", "Who was eligible and who was not", ("exclusions",), "clinical criteria"),
        ("9", "What was done to the images before the model saw them", ("preprocessing",)),
        ("10", "How parts of the data were chosen", ("subsets",)),
        ("11", "How the data were de-identified"),
        ("12", "What was done where data were missing", ("missing",)),
        ("13", "How the images were taken"),
    ],
    "Methods: reference standard": [
        ("14", "How the reference labels came about", ("labels",), "the method behind them"),
        ("15", "Why this reference standard was chosen"),
        ("16", "Who made the labels, and with what qualification"),
        ("17", "How the test set was labelled", ("labels",), "whether apart from the other sets"),
        ("18", "How far labellers agree with each other and with themselves", ("agreement",)),
    ],
    "Methods: partitions": [
        ("19", "How data were assigned to training, validation and test", ("partitions",)),
        ("20", "At which level the parts have nothing in common", ("unit", "leak_guard")),
        ("21", "What size of test set was planned, and why", ("sizes",), "why that is enough"),
    ],
    "Methods: model": [
        ("22", "The model: inputs, architecture, outputs", ("model", "output")),
        ("23", "Software with versions", ("software",)),
        ("24", "What the weights started from", ("initialisation",)),
    ],
    "Methods: training": [
        ("25", "How it was trained, with augmentation and settings",
         ("training", "hyperparameters")),
        ("26", "How the final model was selected", ("checkpoint",)),
        ("27", "Whether and how models were combined", ("ensemble",)),
    ],
    "Methods: evaluation": [
        ("28", "Measures of performance", ("metrics",), "why these matter here"),
        ("29", "Measures of uncertainty and of significance", ("intervals",)),
        ("30", "Whether the result is robust", ("robustness",)),
        ("31", "Means of explaining decisions", ("explanation",), "whether they were validated"),
        ("32", "Test on data of the same source", ("internal_test",)),
        ("33", "Test on data of another source", ("external_test",)),
        ("34", "Registration, where it is a clinical trial"),
    ],
    "Results": [
        ("35", "How many patients were included and left out, at each step", ("flow",)),
        ("36", "Who the patients of each part are", ("demographics",)),
        ("37", "Performance with its uncertainty", ("performance", "intervals")),
        ("38", "Diagnostic accuracy with its precision", ("accuracy",)),
        ("39", "Which cases are wrong, and how", ("failures",), "why they are"),
    ],
    "Discussion": [
        ("40", "What limits the study", ("limitations",), "clinical limits"),
        ("41", "What it means for practice"),
    ],
    "Further information": [
        ("42", "Where the protocol and technical details are", ("protocol",)),
        ("43", "What of software, weights and data can be had", ("code", "weights"),
         "access to the data"),
        ("44", "Who funded it, and what they had a say in"),
    ],
})  # fmt: skip

TRIPOD_AI_ITEMS = _items(TRIPOD_AI, {
    "Title and abstract": [
        ("1", "The title says development or evaluation, for whom, of what outcome",
         ("technique",), "put population and outcome into the title"),
        ("2", "An abstract by the list that belongs to the guideline", ("summary",),
         "the other points of that list"),
    ],
    "Introduction": [
        ("3a", "The care it is for, why a model, and which ones exist"),
        ("3b", "For which patients, to which end, in whose hands"),
        ("3c", "Known inequalities in health between groups"),
        ("4", "Aims; whether a model is developed, evaluated or both", ("objective",)),
    ],
    "Methods: data": [
        ("5a", "Sources of the data to develop and to evaluate", ("data_sources",),
         "why these, and whom they stand for"),
        ("5b", "Between which dates they were gathered"),
        ("6a", "Setting, with number and place of the centres", ("data_sources",),
         "the setting of each site"),
        ("6b", "Who was eligible", ("exclusions",), "clinical criteria"),
        ("6c", "Treatments that patients had received"),
        ("7", "How data were prepared and their quality checked, for all groups alike",
         ("preprocessing", "quality"), "whether alike in all groups"),
    ],
    "Methods: outcome and predictors": [
        ("8a", "The outcome, when and how it was determined, and why that one", ("labels",),
         "how it was determined, and why that one"),
        ("8b", "Who judged the outcome, where it is a judgement"),
        ("8c", "Whether they were blinded"),
        ("9a", "How predictors were chosen", ("inputs",)),
        ("9b", "What the predictors are and how they were measured", ("inputs", "preprocessing"),
         "how the images were taken"),
        ("9c", "Who judged the predictors, where they are judgements", ("inputs",)),
    ],
    "Methods: size and missing data": [
        ("10", "How the size came about, and why it is enough", ("sizes",), "why that is enough"),
        ("11", "What was done where data were missing", ("missing", "exclusions")),
    ],
    "Methods: analysis": [
        ("12a", "Which data served what", ("partitions", "unit")),
        ("12b", "How predictors entered the model", ("preprocessing",)),
        ("12c", "Kind of model, each step of building it, tuning, internal validation",
         ("model", "training", "hyperparameters", "internal_test"), "why this kind of model"),
        ("12d", "How differences between sites were dealt with", ("external_test",)),
        ("12e", "Measures and plots of performance, and how models are compared",
         ("metrics", "calibration", "comparison"), "why these"),
        ("12f", "Whether the model was adapted after evaluation", ("updating",)),
        ("12g", "How predictions were computed", ("prediction",)),
        ("13", "What was done about rare classes, and about calibration then",
         ("class_balance",)),
        ("14", "What was done for fairness", ("subgroups",), "what follows from it"),
        ("15", "What the model puts out, and how thresholds were chosen",
         ("output", "operating_point")),
        ("16", "How development and evaluation data differ", ("demographics",),
         "in setting, eligibility and outcome"),
        ("17", "Ethics committee and consent"),
    ],
    "Open science": [
        ("18a", "Funding"),
        ("18b", "Conflicts of interest"),
        ("18c", "Where the protocol is", ("protocol",)),
        ("18d", "Registration"),
        ("18e", "Whether the data can be had"),
        ("18f", "Whether the code of the analysis can be had", ("code",)),
    ],
    "Patients and public": [
        ("19", "Whether patients and the public took part"),
    ],
    "Results": [
        ("20a", "The flow of participants, with and without the outcome",
         ("flow", "demographics")),
        ("20b", "Who the participants are, per source, with what is missing",
         ("demographics",), "dates and treatments"),
        ("20c", "Development and evaluation data compared", ("demographics",)),
        ("21", "Participants and events of every analysis", ("sizes", "demographics")),
        ("22", "The model itself, so that others can use it", ("weights", "prediction")),
        ("23a", "Performance with intervals, in subgroups too", ("performance", "subgroups")),
        ("23b", "Differences in performance between sites", ("external_test",)),
        ("24", "The adapted model and its performance", ("updating",)),
    ],
    "Discussion": [
        ("25", "What the results mean, for fairness too"),
        ("26", "What limits the study, and which way that works", ("limitations",),
         "clinical limits, and what they do to the result"),
        ("27a", "What to do with poor or missing inputs in use", ("quality",),
         "what to do in the clinic"),
        ("27b", "What users have to do and to know"),
        ("27c", "What should come next"),
    ],
})  # fmt: skip

ITEMS = CLAIM_ITEMS + TRIPOD_AI_ITEMS
