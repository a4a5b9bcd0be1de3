"""Quality of embeddings and imputations: metrics as pure functions of arrays, tasks, and scores of a method's results."""

from midas.metrics import tasks
from midas.metrics.calibration import calibration_error, coverage, reliability
from midas.metrics.counts import CountScores, count_scores, feature_correlation
from midas.metrics.embedding import (
    foscttm,
    label_agreement,
    label_micro_f1,
    label_transfer_f1,
    mixing,
    neighbourhood_overlap,
)
from midas.metrics.evaluate import evaluate, midas_result
from midas.metrics.fold_change import fold_change_correlation, fold_changes, group_fold_changes, pearson
from midas.metrics.information import canonical_correlation, label_predictability, linear_r2
from midas.metrics.links import LinkRecovery, link_recovery
from midas.metrics.neighbours import Neighbours, neighbours
from midas.metrics.result import Result, ResultError, Values
from midas.metrics.scib import ScibScores, scib
from midas.metrics.scmib import ModalityScores, ScmibScores, alignment, modality_asw
from midas.metrics.wnn import modality_weights, weighted_neighbours

__all__ = [
    "CountScores",
    "LinkRecovery",
    "ModalityScores",
    "Neighbours",
    "Result",
    "ResultError",
    "ScibScores",
    "ScmibScores",
    "Values",
    "alignment",
    "calibration_error",
    "canonical_correlation",
    "count_scores",
    "coverage",
    "evaluate",
    "feature_correlation",
    "fold_change_correlation",
    "fold_changes",
    "foscttm",
    "group_fold_changes",
    "label_agreement",
    "label_micro_f1",
    "label_predictability",
    "label_transfer_f1",
    "linear_r2",
    "link_recovery",
    "midas_result",
    "mixing",
    "modality_asw",
    "modality_weights",
    "neighbourhood_overlap",
    "neighbours",
    "pearson",
    "reliability",
    "scib",
    "tasks",
    "weighted_neighbours",
]
