"""The words of the page of explanations: how maps are made and read, and what they cannot show."""

import numpy as np

from remedis_jax.data.messages import first_few
from remedis_jax.evaluation.explained import Explanations
from remedis_jax.evaluation.not_defined import NotDefined
from remedis_jax.evaluation.saliency import LARGEST_GAP, GradCam, Method
from remedis_jax.evaluation.saliency_check import DRAWS
from remedis_jax.report.tables import plain
from remedis_jax.report.wording import percent

# ours: from there on two maps look alike to the eye.
SIMILAR = 0.5

LIMITS = """
- **Not for clinical use.** A map is no finding, and no reason to treat anybody.
- **A map does not prove why the model decided.** It shows where the score is sensitive by one
  definition; another definition gives another map, and what the model found there it does not say.
- A map that looks plausible is not evidence that the model is right, and one on the border of the
  image is a reason to look for a short cut, not proof of one.
- Only one class is explained. Of classes that exclude each other the probability also depends on
  the scores of the others, which the map does not show.
- Colours compare within an image, not between images.
"""


def method_name(method: Method) -> str:
    """As the literature calls it."""
    return "Grad-CAM" if isinstance(method, GradCam) else "Integrated gradients"


def reading(content: Explanations) -> str:
    """How to read a contact sheet."""
    if isinstance(content.method, GradCam):
        return (
            "Beside each image what the network read of it, with the map on top: yellow is where "
            "the class gets most of its score."
        )
    return (
        "Beside each image its pixels in grey with the map on top: red speaks for the class, blue "
        "against it."
    )


def how(content: Explanations) -> str:
    """How the maps are made, as a list."""
    h, w = content.each[0].maps.shape[1:]
    size = content.each[0].seen.shape[1]
    what = {
        "survival": "the log hazard, or the risk at the horizon",
    }.get(content.kind, "the logit of one class, before any temperature")
    method = content.method
    lines = [f"- Explained is {what}. Images are shown as the network reads them, {size} pixels."]
    if isinstance(method, GradCam):
        final = method.layer == "final"
        layer = "the map that is pooled" if final else f"the end of {method.layer}"
        lines += [
            f"- Grad-CAM (Selvaraju et al. 2017) at {layer}: {h} x {w} places, drawn smooth between"
            " them, so that nothing finer than a place can be seen. What speaks against the class"
            " is set to 0.",
            "- Values are in units of the score per place.",
        ]
    else:
        lines += [
            "- Integrated gradients (Sundararajan et al. 2017), the sum over the colour channels:"
            f" from {'a black image' if method.baseline == 'black' else 'the blurred image'} to"
            f" the image in {method.steps} steps, midpoint rule. What is as in the"
            " baseline gets nothing, whatever it means"
            + (" (with black: black pixels)." if method.baseline == "black" else "."),
            "- The completeness gap is by how much the sum of a map misses the difference of the"
            " score from that of the baseline, as a share of it.",
            _gap_sentence(content),
        ]
    if any(len(e.example.images) > 1 for e in content.each):
        lines.append(
            "- A case is explained through its pooling: each image has its share of the score of "
            "the case, and may have none."
        )
    return "\n".join(lines)


def _gap_sentence(content: Explanations) -> str:
    wide = [
        plain(e.example.name)
        for e in content.each
        if not isinstance(e.relative_gap, NotDefined) and e.relative_gap > LARGEST_GAP
    ]
    if not wide:
        return f"- No gap is above {percent(LARGEST_GAP)}."
    return (
        f"- **The gap is above {percent(LARGEST_GAP)} for {len(wide):,} of "
        f"{len(content.each):,} examples ({first_few(wide)}): use more steps.** Where the "
        "score hardly differs from that of the baseline, the share can be large for a small gap."
    )


def sanity_text(content: Explanations) -> str:
    """What the randomised heads say of the maps."""
    magnitudes = [
        np.mean(np.abs(known))
        for e in content.each
        if (known := [c for c in e.correlations if not isinstance(c, NotDefined)])
    ]
    text = (
        f"The weights of the head were shuffled {DRAWS} times, so that it has learnt nothing, and"
        " every map was made again for the same class (after Adebayo et al. 2018, of the head"
        " only). The table has the mean of Spearman's rank correlations of the two maps, with the"
        " smallest and the largest. Far from 0, on either side, the map shows a pattern of the"
        " image and the encoder that any head brings out, upright or turned around. Near 0 the map"
        " passes this test, which is a necessary one and proves nothing more."
    )
    if not magnitudes:
        return text + "\n\n**No correlation is defined.**"
    alike = sum(magnitude > SIMILAR for magnitude in magnitudes)
    return (
        f"{text}\n\n**The mean magnitude of the correlations is {np.mean(magnitudes):.2f}; it is "
        f"above {SIMILAR} for {alike:,} of {len(magnitudes):,} examples.**"
    )
