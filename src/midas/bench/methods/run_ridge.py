"""Imputation by ridge regression on 20 principal components."""

from __future__ import annotations

from regression import impute, ridge
from task_file import arguments

impute(arguments(), ridge)
