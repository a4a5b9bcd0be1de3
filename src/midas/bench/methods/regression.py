"""Predict missing modalities from principal components of the measured ones, by ridge regression or nearest neighbours.

Training uses cells that have both source and target. A cell with several modalities uses all of them if some cells have these
together with the target, else the single one shared with most such cells; if there are none, the cell gets no prediction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from task_file import Arguments, Task, components, read, write

COMPONENTS = 20
NEIGHBOURS = 20
FEWEST = 10  # minimum number of training cells


def impute(args: Arguments, regressor: Any) -> None:
    """Predict the missing modalities of each cell, and write the result."""
    task = read(args.task)
    spaces = {}
    for name, block in task.blocks.items():
        found = components(name, block, args.seed, COMPONENTS)
        space = np.full((len(task.cells), found.shape[1]), np.nan)
        space[task.rows(name)] = found
        spaces[name] = space
    arrays = {}
    for target, block in task.blocks.items():
        imputed = np.full((len(task.cells), len(block.features)), np.nan)
        imputed[task.rows(target)] = block.counts.toarray()
        for has, rows in task.combinations().items():
            if target not in has:
                imputed[rows] = _predicted(task, spaces, has, target, rows, regressor)
        if np.isfinite(imputed).all(1).sum() > len(block.cells):
            arrays[f"imputed/{target}"] = imputed
    write(args.out, task, arrays, package="scikit-learn")


def _predicted(
    task: Task, spaces: dict[str, Any], has: tuple[str, ...], target: str, rows: NDArray[np.intp], regressor: Any
) -> NDArray[np.float64] | float:
    """Expected counts of `target` for `rows`, learned on the log scale."""
    block = task.blocks[target]
    own = task.rows(target)
    options = [has, *sorted(((m,) for m in has), key=lambda s: -np.isfinite(spaces[s[0]][own, 0]).sum())]
    for sources in options:
        x = np.concatenate([spaces[name] for name in sources], axis=1)
        teachers = np.flatnonzero(np.isfinite(x[own]).all(1))
        if len(teachers) >= FEWEST:
            model = regressor(len(teachers)).fit(x[own][teachers], np.log1p(block.counts[teachers].toarray()))
            return np.asarray(np.expm1(np.maximum(model.predict(x[rows]), 0)), dtype=np.float64)
    return np.nan


def ridge(_: int) -> Ridge:
    """The linear one."""
    return Ridge(alpha=1.0)


def knn(n: int) -> KNeighborsRegressor:
    """The local one."""
    return KNeighborsRegressor(min(NEIGHBOURS, n))
