"""Show that our model computes what the authors' package scmidas 0.3.0 computes, given the same weights.

For each case a small mosaic is cut from a data set, ``export_scmidas.py`` (run with scmidas' own interpreter)
builds and briefly trains a scmidas model on it and writes down its weights, a minibatch of every batch, the noise of
its draws, and all that it computes from them. Here the weights are put into our :class:`midas.nn.VAE` and
:class:`midas.nn.Discriminators` under ``Config.paper()``, the same cells and the same noise are passed through, and
everything is compared: inputs, experts and posteriors of each modality, of the batch and joint, draws, decoder outputs
(of the modalities that the batch lacks too), every term of the objective, and the gradients of the objective and of the
discriminators' loss with respect to every parameter. Each minibatch is passed twice: with the batch as an expert
("seen") and without ("hidden"), as in a tenth of the training steps. In the end both sides' own training steps (three
AdamW steps of the discriminators, then one of the model) run over these passes in turn, and the losses of each step are
compared, which depend on all weights that the steps before have changed.

Cases: RNA and ADT (batches with one of them, the other, both); RNA and ATAC cut by chromosome (the same); RNA and ADT
with feature masks (proteins that a batch did not measure); all three at once, masked, in four combinations.

Tolerance. Both sides compute in float32. A quantity agrees when the largest absolute difference of its entries is at
most ``--tolerance`` (1e-5) times the largest absolute value of its entries in scmidas; for a single number, a term of
the objective, that is the plain relative difference. For gradients the rule holds for each parameter tensor by itself,
and a row of the table is the worst tensor of a part of the model. A row is the worst of all minibatches and passes.

Differences in form, each handled in the open:

1. *Constant of the Poisson.* scmidas' loss (``PoissonNLLLoss(full=True)``) holds Stirling's approximation of log x! for
   x > 1. It depends on the counts alone, and ours leaves it out; :func:`quantities.stirling` adds it before comparing.
2. *Order of features.* Ours are sorted by name, peaks by chromosome and position. The cases shuffle the features (peaks
   within chromosomes, chromosomes in the order of text: chr1, chr10, chr2), so that every permutation is a real one;
   :class:`order.Order` permutes rows and columns of weights, and what scmidas put out.
3. *Blocks.* scmidas' encoders and decoders of a chromosome stand in its order of chromosomes, ours in our own; the
   concatenated LayerNorm and the linear maps next to it are permuted by blocks. scmidas has one last decoder matrix for
   all modalities, which is cut; its shared upper encoder is ours.
4. *Discriminators.* Ours are stacked, each with an output for every batch, of which those without the modality get a
   logit of minus infinity. scmidas' have one output for each batch with the modality, numbered in order of appearance:
   :func:`weights.discriminator_weights` puts them at our batches. The outputs that scmidas lacks are filled with noise, which
   must not matter.
5. *Modalities that a minibatch lacks.* scmidas leaves them out of its dicts; ours has no counts of them, and their
   discriminators count no cell. Their parameters must get a gradient of zero.
6. *Which features were measured.* Our reader takes a protein that is zero in a whole batch but not in others as not
   measured, scmidas takes it as a zero unless it is told. The cases tell scmidas what our reader found.
7. *Dropout* is switched off on both sides, as its random bits cannot be shared; sampling is on. Which minibatches are
   drawn in which order, and in which steps the batch is hidden, are also outside of this comparison.
8. *AdamW on the parameters of modalities that a minibatch lacks*: the one place where the two train differently, and
   only where minibatches lack a modality altogether. AdamW leaves a tensor without gradient alone, but moves one whose
   gradient is zero, by momentum and weight decay. scmidas' last decoder matrix is one tensor for all modalities, so the
   rows of a modality that is lacking go on moving, while ours are tensors of their own and stand still; our stacked
   discriminators go on moving, while scmidas' are modules of their own and stand still. The rows "training" are with
   :func:`training.like_scmidas`, which has our AdamW do as scmidas' does in both, and must agree; the rows "training as is" are
   without it, and show how far the first steps come apart: where they do, they are marked "known" (but not in the case
   without lacking modalities, where they must agree too).

Usage::

    OMP_NUM_THREADS=1 python benchmarks/parity.py --peer-python SCMIDAS_ENV/bin/python --data DIR [--out parity.md]

DIR holds pbmc_wnn_mosaic_1600.h5mu, pbmc_standin_trimodal_4batch.h5mu and pbmc_citeseq_10x_2batch.h5mu. The exit status
is 1 when any quantity differs, other than those marked "known".
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import mudata as mu
import numpy as np

from midas.data import read_mosaic
from scmidas_parity.cases import CASES, Case, cut, tell_measured
from scmidas_parity.compare import compare_case
from scmidas_parity.difference import place
from scmidas_parity.peer import Peer, run_peer
from scmidas_parity.table import Row, describe, judge, report


def main() -> None:
    """Compare all cases, print the report, and exit with 1 if anything differs."""
    args = parse()
    warnings.filterwarnings("ignore")
    logging.getLogger("midas").setLevel(logging.ERROR)
    mu.set_options(pull_on_update=False)
    rows: list[Row] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for case in (c for c in CASES if c.name in args.cases):
            print(f"{case.name} ...", file=sys.stderr, flush=True)
            found, note = run_case(case, args, Path(folder))
            rows += found
            notes.append(note)
    text = report(rows, notes, args)
    print(text)
    if args.out is not None:
        args.out.write_text(text, encoding="utf-8")
    if any(row.ok == "NO" for row in rows):
        sys.exit(1)


def run_case(case: Case, args: argparse.Namespace, folder: Path) -> tuple[list[Row], str]:
    """Cut the mosaic, run scmidas and ours, and say what was compared."""
    source = args.data / case.file
    if not source.is_file():
        raise SystemExit(f"--data: expected {case.file} in {args.data}, found none")
    mdata = cut(case, mu.read_h5mu(source), np.random.default_rng(args.seed))
    mosaic = read_mosaic(mdata)
    tell_measured(mdata, mosaic)
    path, result = folder / f"{case.name}.h5mu", folder / f"{case.name}.npz"
    mdata.write_h5mu(path)
    run_peer(args.peer_python, path, result, args)
    peer = Peer.read(result)
    worst = compare_case(mosaic, peer, args.seed)
    rows = [
        Row(case.name, name, worst[name], judge(name, worst[name], args.tolerance, mosaic=mosaic))
        for name in sorted(worst, key=place)
    ]
    return rows, describe(case, mosaic, peer)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--peer-python", type=Path, required=True, help="interpreter of the environment with scmidas")
    parser.add_argument("--data", type=Path, required=True, help="folder with the data sets")
    parser.add_argument("--out", type=Path, help="markdown file for the report")
    parser.add_argument("--cases", nargs="+", default=[c.name for c in CASES], choices=[c.name for c in CASES])
    parser.add_argument("--tolerance", type=float, default=1e-5)
    parser.add_argument("--cells", type=int, default=128, help="cells of a minibatch")
    parser.add_argument("--epochs", type=int, default=5, help="epochs that scmidas is trained before")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
