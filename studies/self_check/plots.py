"""Plot of the self-check study."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from studies.reporting import plots
from studies.threshold.plots import COLOURS


def agreement(
    kinds: Mapping[str, Sequence[float]],
    chance: Sequence[float],
    own: Sequence[float],
    reference: Sequence[float],
    threshold: float,
) -> Figure:
    """Draws the agreement of each kind of answer with the model's samples, and agreement against reference scores.

    Args:
        kinds: Agreement of the labelled answers, by label.
        chance: Agreement with samples of other questions.
        own: Agreement of the model's first answers.
        reference: Scores of those first answers against their references, in the same order.
        threshold: Threshold of agreement.
    """
    figure, (left, right) = plots.panels(2)
    rows = {"other questions": chance, "first answers": own} | dict(kinds)
    plots.dots(left, rows, threshold, COLOURS, size=10, alpha=0.6)
    left.set(xlabel="agreement with the model's samples; the bars are medians")
    left.legend(loc="lower right")
    right.scatter(own, reference, s=14, color="#2166ac", edgecolors="none")
    right.set(xlabel="agreement of the first answer", ylabel="its bert_score against the reference")
    return figure
