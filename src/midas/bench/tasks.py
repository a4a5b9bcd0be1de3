"""Tasks as files: the input of a method, and everything known about the same cells."""

from __future__ import annotations

from pathlib import Path

from mudata import MuData

from midas.bench.registry import Shape
from midas.io import read_file, write_mudata
from midas.metrics import tasks

BATCH, LABEL, ORIGIN = "batch", "cell_type", "origin"  # columns of obs


def write_task(data: MuData, name: str, cells: int | None, folder: Path) -> Shape:
    """Write ``task.h5mu`` and ``truth.h5mu``; return the task's shape.

    Parameters
    ----------
    data
        Everything known about the cells of a data set.
    name
        Name of the task, see :mod:`midas.metrics.tasks`.
    cells
        Maximum number of cells to keep; always the same ones, so that seeds differ only in the methods.
    folder
        Where to write.
    """
    kept = None if cells is None else min(cells, data.n_obs)
    task = tasks.make(data, name, batch_key=BATCH, label_key=LABEL, n_cells=kept, seed=0)
    task.truth.obs[ORIGIN] = task.origin.reindex(task.truth.obs_names).to_numpy()
    write_mudata(folder / "task.h5mu", task.mdata)
    write_mudata(folder / "truth.h5mu", task.truth)
    return Shape.of(task.mdata)


def read_task(folder: Path, name: str) -> tasks.Task:
    """Read what :func:`write_task` wrote."""
    mdata, truth = read_file(folder / "task.h5mu"), read_file(folder / "truth.h5mu")
    assert isinstance(mdata, MuData)
    assert isinstance(truth, MuData)
    return tasks.Task(name, mdata, truth, BATCH, LABEL, truth.obs[ORIGIN].astype(str))
