"""Knowledge transfer, measured: ``python benchmarks/transfer.py DATA OUT [--parts forms,tissues] [--cells 1600]``.

`forms`: the reference is two batches of the trimodal stand-in set, the query the other two, made into each mosaic task. What
model transfer, and the reference as it is, make of it (scIB and scMIB overall, CPU seconds); and each way of mapping: scIB of the
query's cells, labels (micro-F1, calibration), how the query mixes with the reference. `scratch`: the same queries from scratch.
`tissues`: PBMC as the reference of bone marrow, and the reverse; which cells are called Unknown. `absent`: the same where the
reference lacks one type of blood cell, or none. `features`: RNA of ever fewer genes, by a reference of 2,000 cells.
`continual`: three queries in a row, and what becomes of the first reference's embedding. Every row is appended to
OUT/<part>.csv as soon as it is known.
"""

from __future__ import annotations

import argparse
import csv
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mudata
import numpy as np
from sklearn.metrics import roc_auc_score

import midas
from midas import transfer
from midas.io import read_file
from midas.metrics import evaluate, midas_result, scib, tasks
from midas.transfer.automatic import _MODES
from midas.transfer.config import Mode

SHARED = ("CD4 T", "CD8 T", "CD14 Mono", "NK", "B")
ABSENT = ("Erythroid", "HSPC")
COMMON = ("B", "NK", "CD8 T", "CD14 Mono", "Mono")
SAME_PROTEIN = {"CD8": "CD8a", "CD279": "PD-1"}


@contextmanager
def clock(row: dict[str, Any], name: str) -> Iterator[None]:
    started = time.process_time()
    yield
    row[name] = round(time.process_time() - started, 1)


class Table:
    """Rows in a CSV file, written one by one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, row: dict[str, Any]) -> None:
        new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row.keys())
            if new:
                writer.writeheader()
            writer.writerow(row)
        print(row, flush=True)


def of_batches(mdata: mudata.MuData, batches: set[str]) -> mudata.MuData:
    return of_cells(mdata, mdata.obs["batch"].astype(str).isin(batches).to_numpy())


def of_cells(mdata: mudata.MuData, keep: np.ndarray) -> mudata.MuData:
    names = mdata.obs_names[keep]
    with mudata.set_options(pull_on_update=False):
        part = mudata.MuData({name: a[a.obs_names.isin(names)].copy() for name, a in mdata.mod.items()})
    part.obs = mdata.obs.loc[part.obs_names].copy()
    return part


def trained(mdata: mudata.MuData, folder: Path, seed: int, row: dict[str, Any] | None = None) -> midas.MIDAS:
    if not (folder / "model.json").exists():
        with clock({} if row is None else row, "reference_s"):
            midas.MIDAS(mdata, seed=seed).fit(progress=False).save(folder, with_counts=20_000)
    return midas.MIDAS.load(folder)


def label_scores(mapped: transfer.Mapped, truth: np.ndarray, column: str) -> dict[str, float]:
    table = transfer.label_cells(mapped, column).table
    counted = truth != "unknown"
    given = table[f"{column}_transferred"].astype(str).to_numpy()[counted]
    right = given == truth[counted]
    known = given != transfer.UNKNOWN
    confidence = table[f"{column}_confidence"].to_numpy()[counted]
    plain = transfer.label_cells(mapped, column, config=transfer.LabelConfig(unknown=False)).table
    voted = plain[f"{column}_transferred"].astype(str).to_numpy()[counted]
    return {
        "f1": float((voted == truth[counted]).mean()),
        "unknown": float(1 - known.mean()),
        "ece": midas.metrics.calibration_error(confidence[known], right[known]) if known.any() else float("nan"),
        "confidence": float(np.nanmean(confidence[known])) if known.any() else float("nan"),
    }


def queries(mdata: mudata.MuData, cells: int, seed: int, only: list[str] | None) -> Iterator[tuple[str, tasks.Task]]:
    source = of_batches(mdata, {"pbmc5k_a", "pbmc5k_b"})
    for name in only or list(tasks.names(mdata)):
        yield name, tasks.make(source, name, n_cells=cells, seed=seed)


def scratch(data: Path, out: Path, cells: int, seed: int, only: list[str] | None) -> None:
    mdata = read_file(data / "pbmc_standin_trimodal_4batch.h5mu")
    table = Table(out / "scratch.csv")
    for name, task in queries(mdata, cells, seed, only):
        row: dict[str, Any] = {"task": name, "seed": seed}
        with clock(row, "s"):
            model = midas.MIDAS(task.mdata, seed=seed).fit(progress=False)
        table.add(row | _scores(model, task))


def forms(data: Path, out: Path, cells: int, seed: int, only: list[str] | None, modes: tuple[Mode, ...]) -> None:
    mdata = read_file(data / "pbmc_standin_trimodal_4batch.h5mu")
    reference = trained(of_batches(mdata, {"pbmc10k_a", "pbmc10k_b"}), out / f"reference_{seed}", seed)
    table = Table(out / "forms.csv")
    for name, task in queries(mdata, cells, seed, only):
        truth = task.truth.obs.loc[task.mdata.obs_names, "cell_type"].astype(str).to_numpy()
        row: dict[str, Any] = {"task": name, "seed": seed}
        query = transfer.Query(task.mdata, seed=seed, progress=False)
        if "reference_to_query" in modes:
            with clock(row, "transfer_s"):
                model = transfer.transfer_model(reference, query)
            row |= {f"transfer_{key}": value for key, value in _scores(model, task).items()}
        if "encode" in modes:
            row |= {f"untrained_{key}": value for key, value in _scores(_as_it_is(reference, task), task).items()}
        batch = task.mdata.obs["batch"].astype(str).to_numpy()
        for mode in modes:
            with clock(row, f"{mode}_s"):
                mapped = transfer.map_query(reference, query, mode=mode)
            scores = label_scores(mapped, truth, "cell_type") | {"mixing": _mixing(mapped, truth)}
            scores["scib"] = scib(mapped.query.obsm["X_midas"], batch, truth).overall
            row |= {f"{mode}_{key}": round(value, 4) for key, value in scores.items()}
        table.add(row)


def _mixing(mapped: transfer.Mapped, truth: np.ndarray) -> float:
    """Batch part of scIB, of the query's cells and twice as many of the reference's."""
    query = np.flatnonzero(mapped.is_query)
    others = np.flatnonzero(~mapped.is_query)
    some = np.random.default_rng(0).permutation(others)[: 2 * len(query)]
    at = np.concatenate([some, query])
    label = np.concatenate([mapped.cells.obs["cell_type"].astype(str).to_numpy()[some], truth])
    return scib(mapped.cells.obsm["X_midas"][at], mapped.is_query[at].astype(str), label).batch


def _as_it_is(reference: midas.MIDAS, task: tasks.Task) -> midas.MIDAS:
    """The reference itself, its own cells taken to be the query's: what no tuning at all is worth."""
    model = midas.MIDAS.load(reference._folder)
    model.mosaic = model.read(task.mdata)
    return model


def _scores(model: midas.MIDAS, task: tasks.Task) -> dict[str, float | str]:
    """ScIB and scMIB overall; the latter needs what a model makes of all modalities."""
    found = evaluate(task, midas_result(model, task))
    return {
        name: round(float(found[key]), 4) if key in found else ""
        for name, key in (("scib", "overall"), ("scmib", "scmib_overall"))
    }


def tissues(data: Path, out: Path, seed: int) -> None:
    pbmc = read_file(data / "pbmc_citeseq_10x_2batch.h5mu")
    marrow = read_file(data / "bmmc_cite_neurips_1draw.h5mu")
    marrow["adt"].var_names = [SAME_PROTEIN.get(name, name) for name in marrow["adt"].var_names]
    table = Table(out / "tissues.csv")
    for name, source, query, absent in (
        ("PBMC to bone marrow", pbmc, marrow, ABSENT),
        ("bone marrow to PBMC", marrow, pbmc, ()),
    ):
        reference = trained(source, out / f"{name.replace(' ', '_')}_{seed}", seed)
        truth = query.obs["cell_type"].astype(str).to_numpy()
        shared, strange = np.isin(truth, SHARED), np.isin(truth, absent)
        for mode in _MODES:
            row: dict[str, Any] = {"direction": name, "mode": mode, "seed": seed}
            with clock(row, "s"):
                mapped = transfer.map_query(reference, transfer.Query(query, seed=seed, progress=False), mode=mode)
                labels = transfer.label_cells(mapped, "cell_type")
            given = labels.table["cell_type_transferred"].astype(str).to_numpy()
            score = labels.table["cell_type_unknown_score"].to_numpy()
            counted = shared | strange
            row |= {
                "consistent_shared": round(float((given == truth)[shared].mean()), 4),
                "unknown_shared": round(float((given == transfer.UNKNOWN)[shared].mean()), 4),
                "unknown_absent": round(float((given == transfer.UNKNOWN)[strange].mean()), 4) if absent else "",
                "auroc": round(float(roc_auc_score(strange[counted], score[counted])), 4) if absent else "",
                "separation": round(labels.cut.separation, 2),
            }
            row |= {f"shared_{label}": round(float((given == truth)[truth == label].mean()), 3) for label in SHARED}
            table.add(row)


def absent(data: Path, out: Path, seed: int) -> None:
    table = Table(out / "absent.csv")
    for name, file, column in (
        ("citeseq", "pbmc_citeseq_10x_2batch", "cell_type"),
        ("standin", "pbmc_standin_trimodal_4batch", "cell_type"),
        ("wnn", "pbmc_wnn_mosaic_1600", "celltype"),
    ):
        mdata = read_file(data / f"{file}.h5mu")
        batch, truth = (mdata.obs[key].astype(str).to_numpy() for key in ("batch", column))
        batches = np.unique(batch)
        old = np.isin(batch, batches[: len(batches) // 2])
        for gone in ("none", *(label for label in COMMON if (truth == label).any())):
            rng = np.random.default_rng(seed)
            of_reference, of_query = (
                of_cells(mdata, np.isin(np.arange(len(batch)), rng.permutation(np.flatnonzero(kept))[:most]))
                for kept, most in ((old & (truth != gone), 2000), (~old, 800))
            )
            reference = trained(of_reference, out / f"{name}_without_{gone.replace(' ', '_')}_{seed}", seed)
            for modality in ("all", *(of_query.mod if len(of_query.mod) > 1 else ())):
                query = of_query if modality == "all" else mudata.MuData({modality: of_query[modality]})
                query.obs = of_query.obs.loc[query.obs_names]
                mapped = transfer.encode(reference, transfer.Query(query, progress=False))
                labels = transfer.label_cells(mapped, column)
                strange = query.obs[column].astype(str).to_numpy() == gone
                unknown = (labels.table[f"{column}_transferred"] == transfer.UNKNOWN).to_numpy()
                score = labels.table[f"{column}_unknown_score"].to_numpy()
                row: dict[str, Any] = {"set": name, "absent": gone, "seed": seed, "modality": modality}
                row["share"] = round(float(strange.mean()), 3)
                row["separation"] = round(labels.cut.separation, 2)
                row["unknown_known"] = round(float(unknown[~strange].mean()), 4)
                row["unknown_absent"] = round(float(unknown[strange].mean()), 4) if strange.any() else ""
                row["auroc"] = round(float(roc_auc_score(strange, score)), 4) if strange.any() else ""
                table.add(row)


def features(data: Path, out: Path, cells: int, seed: int) -> None:
    mdata = read_file(data / "pbmc_standin_trimodal_4batch.h5mu")
    rng = np.random.default_rng(seed)
    batch = mdata.obs["batch"].to_numpy().astype(str)
    of_reference, of_query = (
        of_cells(mdata, np.isin(np.arange(len(batch)), rng.permutation(np.flatnonzero(kept))[:most]))
        for kept, most in ((np.char.startswith(batch, "pbmc10k"), 2000), (np.char.startswith(batch, "pbmc5k"), cells))
    )
    reference = trained(of_reference, out / f"of_2000_{seed}", seed)
    table = Table(out / "features.csv")
    order = rng.permutation(of_query["rna"].n_vars)
    for n in (2000, 1000, 500, 200, 100, 50):
        query = mudata.MuData({"rna": of_query["rna"][:, order[:n]].copy()})
        truth = query["rna"].obs["cell_type"].astype(str).to_numpy()
        mapped = transfer.encode(reference, transfer.Query(query, seed=seed, progress=False))
        found = label_scores(mapped, truth, "cell_type")
        table.add({"genes": n, "seed": seed} | {key: round(value, 4) for key, value in found.items()})


def continual(data: Path, out: Path, seed: int) -> None:
    mdata = read_file(data / "pbmc_standin_trimodal_4batch.h5mu")
    first = of_batches(mdata, {"pbmc10k_a"})
    model = trained(first, out / f"first_{seed}", seed)
    before = model.latent(first)
    truth = first.obs["cell_type"].astype(str).to_numpy()
    table = Table(out / "continual.csv")
    for batch in ("", "pbmc10k_b", "pbmc5k_a", "pbmc5k_b"):
        row: dict[str, Any] = {"after": batch or "(reference)", "seed": seed}
        if batch:
            query = transfer.Query(of_batches(mdata, {batch}), seed=seed, progress=False)
            with clock(row, "s"):
                mapped = transfer.map_query(model, query)
            of_query = query.data.obs["cell_type"].astype(str).to_numpy()
            row["f1_query"] = round(label_scores(mapped, of_query, "cell_type")["f1"], 4)
            mapped.model.save(out / f"after_{batch}_{seed}", with_counts=20_000)
            model = midas.MIDAS.load(out / f"after_{batch}_{seed}")
        else:
            row |= {"s": 0.0, "f1_query": ""}
        now = model.latent(first)
        counted = truth != "unknown"
        row |= {
            "moved": round(
                float(np.sqrt(((now - before) ** 2).sum(1)).mean() / before.std(0).sum() * np.sqrt(before.shape[1])), 4
            ),
            "agreement": round(midas.metrics.label_agreement(now[counted], truth[counted]), 4),
        }
        table.add(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--parts", default="scratch,forms,tissues,absent,features,continual")
    parser.add_argument("--cells", type=int, default=1600)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--tasks", default=None)
    parser.add_argument("--modes", default=",".join(_MODES), help="Of the forms: ways of mapping.")
    args = parser.parse_args()
    logging.getLogger("midas").setLevel(logging.ERROR)
    args.out.mkdir(parents=True, exist_ok=True)
    only = args.tasks.split(",") if args.tasks else None
    modes = tuple(mode for mode in _MODES if mode in args.modes.split(","))
    for seed in map(int, args.seeds.split(",")):
        if "scratch" in args.parts:
            scratch(args.data, args.out, args.cells, seed, only)
        if "forms" in args.parts:
            forms(args.data, args.out, args.cells, seed, only, modes)
        if "tissues" in args.parts:
            tissues(args.data, args.out, seed)
        if "absent" in args.parts:
            absent(args.data, args.out, seed)
        if "features" in args.parts:
            features(args.data, args.out, args.cells, seed)
        if "continual" in args.parts:
            continual(args.data, args.out, seed)


if __name__ == "__main__":
    main()
