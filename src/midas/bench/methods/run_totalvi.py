"""totalVI (scvi-tools) at its defaults: RNA in every cell, proteins in some batches."""

from __future__ import annotations

import scvi
from scvi_common import Stop, all_cells, depths, seeded
from task_file import Clock, arguments, read, write

args = arguments()
seeded(args)
task = read(args.task)
mdata = all_cells(task)
scvi.model.TOTALVI.setup_mudata(
    mdata, batch_key="batch", modalities={"rna_layer": "rna", "protein_layer": "adt", "batch_key": "rna"}
)
model = scvi.model.TOTALVI(mdata)
clock = Clock(args.seconds)
stop = Stop(clock)
model.train(max_epochs=args.epochs, accelerator="cpu", callbacks=[stop], enable_progress_bar=False)
trained = clock.seconds
batches = sorted(set(task.batch[task.rows("adt")].tolist()))
# As in its tutorial, imputation averages over the batches that measured proteins.
_, proteins = model.get_normalized_expression(
    transform_batch=batches, n_samples=10, return_mean=True, include_protein_background=True, return_numpy=True
)
genes, _ = model.get_normalized_expression(n_samples=1, return_numpy=True)
arrays = {
    "embedding": model.get_latent_representation(),
    "imputed/adt": proteins,
    "imputed/rna": genes * depths(task),
}
write(args.out, task, arrays, package="scvi-tools", train_cpu_s=trained, epochs=stop.epochs)
