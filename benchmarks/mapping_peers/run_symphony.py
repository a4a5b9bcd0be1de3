"""Symphony (symphonypy) by its documentation: Harmony on the reference's components, the query corrected towards its clusters."""

from __future__ import annotations

import scanpy as sc
import symphonypy as sp
from handover import Job

COMPONENTS = 30

job = Job()
for data in (job.reference, job.query):
    sc.pp.normalize_total(data, target_sum=1e5)
    sc.pp.log1p(data)
with job.clock("reference"):
    # The sets come with their variable genes chosen.
    job.reference.var["highly_variable"] = True
    sc.pp.scale(job.reference, max_value=10)
    sc.pp.pca(job.reference, n_comps=COMPONENTS, zero_center=False, random_state=job.seed)
    sp.pp.harmony_integrate(job.reference, key="batch", random_seed=job.seed)
with job.clock("mapping"):
    sp.tl.map_embedding(job.query, job.reference, key="batch")
job.done(job.reference.obsm["X_pca_harmony"], job.query.obsm["X_pca_harmony"])
