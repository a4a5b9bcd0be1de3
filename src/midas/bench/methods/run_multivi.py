"""MultiVI (scvi-tools) at its defaults: any of RNA, ATAC and proteins in each cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import scvi
from scvi_common import Stop, all_cells, depths, seeded
from task_file import Clock, arguments, read, write

LAYERS = {"rna": "rna_layer", "adt": "protein_layer", "atac": "atac_layer"}

args = arguments()
seeded(args)
task = read(args.task)
mdata = all_cells(task)
layers = {LAYERS[name]: name for name in task.blocks}
scvi.model.MULTIVI.setup_mudata(mdata, batch_key="batch", modalities={**layers, "batch_key": "rna"})
sizes = {name: len(task.blocks[name].features) if name in task.blocks else 0 for name in ("rna", "atac")}
model = scvi.model.MULTIVI(mdata, n_genes=sizes["rna"], n_regions=sizes["atac"])
clock = Clock(args.seconds)
stop = Stop(clock)
model.train(max_epochs=args.epochs or 500, accelerator="cpu", callbacks=[stop], enable_progress_bar=False)
trained = clock.seconds
arrays: dict[str, Any] = {"embedding": model.get_latent_representation()}
if "rna" in task.blocks:
    arrays["imputed/rna"] = np.asarray(model.get_normalized_expression(return_numpy=True)) * depths(task)
if "atac" in task.blocks:
    arrays["imputed/atac"] = np.asarray(model.get_normalized_accessibility(return_numpy=True))
write(args.out, task, arrays, package="scvi-tools", train_cpu_s=trained, epochs=stop.epochs)
