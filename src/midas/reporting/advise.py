"""What to try next: follows from the findings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midas.config import Config
    from midas.reporting.finding import Finding


@dataclass(frozen=True)
class Advice:
    """Something to try next.

    Attributes
    ----------
    sentence
        What and why.
    toml
        Lines of a configuration file; empty where no setting helps.
    """

    sentence: str
    toml: str = ""


def advise(findings: list[Finding], config: Config) -> list[Advice]:
    """Say what to try next, most useful first; each follows from a finding."""
    level = {finding.key: finding.level for finding in findings}
    causes = {finding.cause for finding in findings}
    objective, training_ = config.objective, config.training
    bad = {key for key, found in level.items() if found in {"look", "poor"}}
    advice = []
    if "still falling" in causes:
        ended = next((dict(f.rows).get("best epoch", "") for f in findings if f.cause == "still falling"), "")
        n = int(ended.rsplit(" ", 1)[-1] or 1)
        advice.append(Advice("Train longer first: other findings may vanish.", f"[training]\nepochs = {2 * n}"))
    if "over-fitted" in causes:
        said = "The model over-fits: regularise it, or use fewer epochs."
        advice.append(Advice(said, f"[network]\ndropout = {max(0.1, min(0.5, 2 * config.network.dropout)):g}"))
    if level.get("bridges") == "poor":
        advice.append(
            Advice(
                "Add a batch, or cells, that share a modality with both sides; or name the genes of features in var['gene']."
            )
        )
    if "under-trained" in causes and "still falling" not in causes:
        advice.append(
            Advice("Neither batches nor structure are as they should be: train longer, before anything else.")
        )
    elif "batch left" in causes and "over-corrected" in causes:
        said = (
            "Batch is left and structure suffers as well: the weight of the discriminators would trade one for the other, so "
            "leave it. Look whether one batch alone is at fault."
        )
        advice.append(Advice(said))
    elif "batch left" in causes and "under-trained" not in causes:
        said = "Batch is left in the embedding: let the discriminators weigh more, and watch that types stay apart."
        advice.append(Advice(said, f"[objective]\nadversarial = {max(10.0, 2 * objective.adversarial):g}"))
    elif "not learned" in causes:
        if "still falling" not in causes:
            advice.append(Advice("Structure was lost, and there is one batch: train longer."))
    elif "over-corrected" in causes:
        said = (
            "Structure was lost: let the discriminators weigh less, so that biology is not removed with the batch. If batches "
            "share hardly any type, integrate them with others that have both."
        )
        advice.append(Advice(said, f"[objective]\nadversarial = {objective.adversarial / 4:g}"))
    if "alignment" in bad:
        said = "Modalities do not meet closely: weigh their alignment more."
        advice.append(Advice(said, f"[objective]\nalignment = {max(10.0, 2 * objective.alignment):g}"))
    if "technical" in bad and "batch" in bad:
        said = "Give the batch a place outside of the embedding: one more dimension of u, or a larger weight of its batch term."
        advice.append(Advice(said, f"[network]\ndim_u = {config.network.dim_u + 1}"))
    if level.get("training") == "none" and training_.validation_fraction == 0:
        advice.append(Advice("Hold cells out, to see over-fitting.", "[training]\nvalidation_fraction = 0.1"))
    return advice or [Advice("Nothing stands out. Repeat with another seed to see how stable the picture is.")]
