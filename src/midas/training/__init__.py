"""Fitting: the step, the plan, the loop, and what surrounds it."""

from midas.training.checkpoint import Checkpoint
from midas.training.loop import Trained, fit
from midas.training.plan import Plan, plan_training
from midas.training.step import Learner, NotFiniteError, train_step

__all__ = ["Checkpoint", "Learner", "NotFiniteError", "Plan", "Trained", "fit", "plan_training", "train_step"]
