"""Types that a reference lacks: how many of their cells are told, and how many of known types are taken for new, by the mix.

``python benchmarks/unknown.py DATA``: for several sets, a reference without one of the types, and queries of its other batches by
``encode``: without any new cell, with few, half of them, most, or nothing else.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path

import mudata as md
import numpy as np

import midas
from midas.bench.data import SOURCES
from midas.transfer import LabelConfig, Query, encode, label_cells

# Set, reference batches, query batches, modalities of the query (None for all), types to leave out.
CASES = (
    ("citeseq", ("pbmc10k",), ("pbmc5k",), None, ("B", "NK")),
    ("wnn", ("p1_0", "p2_0"), ("p3_0", "p4_0"), None, ("B", "NK")),
    ("asap", ("C1_CITE", "C2_CITE"), ("C3_ASAP",), None, ("Bcell", "NK")),
    ("bmmc", ("s1d1_cite", "s1d1_multiome"), ("s1d2_cite", "s1d2_multiome"), None, ("B", "NK")),
    ("standin", ("pbmc10k_a", "pbmc10k_b"), ("pbmc5k_a",), ("rna",), ("B", "CD14 Mono")),
    ("standin", ("pbmc10k_a", "pbmc5k_b"), ("pbmc10k_b",), None, ("NK", "CD8 T")),
    ("sim", ("batch1", "batch2"), ("batch3",), None, ("type4", "progenitor")),
    ("snareseq", ("09A", "09B", "09C"), ("09H",), ("rna",), ("L6", "Mis")),
)
# Known and new cells of a query.
MIXES = {"none": (600, 0), "few": (600, 40), "half": (250, 250), "most": (60, 300), "all": (0, 300)}


def some(data: md.MuData, cells: np.ndarray, modalities: tuple[str, ...] | None) -> md.MuData:
    """Some cells of a set."""
    parts = {}
    for name, adata in data.mod.items():
        mine = adata.obs_names.isin(cells)
        if mine.any() and (modalities is None or name in modalities):
            parts[name] = adata[mine].copy()
    with md.set_options(pull_on_update=False):
        found = md.MuData(parts)
    found.obs = data.obs.loc[found.obs_names].copy()
    return found


def main() -> None:
    """Print a row for each reference and mix."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", default=None, help="comma-separated; all by default")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("midas").setLevel(logging.ERROR)
    rng = np.random.default_rng(0)
    print("| set, without | query | new cells told | known taken for new | near | label accuracy of known |")
    print("|---|---|---|---|---|---|")
    for name, ours, theirs, modalities, types in CASES:
        if arguments.sets is not None and name not in arguments.sets.split(","):
            continue
        data = SOURCES[name].load(arguments.data)
        batch, kind = data.obs["batch"].astype(str), data.obs["cell_type"].astype(str)
        names = data.obs_names.to_numpy()
        for left_out in types:
            pool = names[(batch.isin(ours) & (kind != left_out) & (kind != "unknown")).to_numpy()]
            reference = midas.MIDAS(some(data, rng.choice(pool, min(1300, len(pool)), replace=False), None))
            reference.fit(progress=False)
            asked = (batch.isin(theirs) & (kind != "unknown")).to_numpy()
            known, new = names[asked & (kind != left_out).to_numpy()], names[asked & (kind == left_out).to_numpy()]
            for mix, (n_known, n_new) in MIXES.items():
                cells = [rng.choice(of, min(n, len(of)), replace=False) for of, n in ((known, n_known), (new, n_new))]
                query = some(data, np.concatenate(cells), modalities)
                mapped = encode(reference, Query(query, progress=False))
                found = (
                    label_cells(mapped, "cell_type", config=LabelConfig()).table["cell_type_transferred"].astype(str)
                )
                true = data.obs.loc[found.index, "cell_type"].astype(str)
                is_new, told = true == left_out, found == "Unknown"
                near = (mapped.query.obs["midas_nearness"] > 0.5).mean()
                shares = [f"{told[of].mean():.2f}" if of.any() else "·" for of in (is_new, ~is_new)]
                right = f"{(found == true)[~is_new].mean():.3f}" if (~is_new).any() else "·"
                print(f"| {name}, {left_out} | {mix} | {shares[0]} | {shares[1]} | {near:.2f} | {right} |", flush=True)


if __name__ == "__main__":
    main()
