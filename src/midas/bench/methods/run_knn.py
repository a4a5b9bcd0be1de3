"""Imputation by the 20 nearest neighbours on 20 principal components."""

from __future__ import annotations

from regression import impute, knn
from task_file import arguments

impute(arguments(), knn)
