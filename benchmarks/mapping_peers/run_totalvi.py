"""totalVI mapped by scArches, with the settings that the documentation of scvi-tools gives for reference and query."""

from __future__ import annotations

import logging

import scvi
from handover import Job

QUERY_EPOCHS = 200

job = Job()
scvi.settings.seed = job.seed
scvi.settings.verbosity = logging.ERROR
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
options = {"accelerator": "cpu", "enable_progress_bar": False}
with job.clock("reference"):
    scvi.model.TOTALVI.setup_anndata(job.reference, batch_key="batch", protein_expression_obsm_key="adt")
    model = scvi.model.TOTALVI(job.reference, use_layer_norm="both", use_batch_norm="none")
    model.train(**options)
with job.clock("mapping"):
    scvi.model.TOTALVI.prepare_query_anndata(job.query, model)
    mapped = scvi.model.TOTALVI.load_query_data(job.query, model, freeze_expression=True, accelerator="cpu")
    mapped.train(QUERY_EPOCHS, plan_kwargs={"weight_decay": 0.0}, **options)
    query = mapped.get_latent_representation()
job.done(model.get_latent_representation(), query)
