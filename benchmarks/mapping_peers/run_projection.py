"""The query's RNA on the reference's principal components, with the reference's means and scales; no correction of batches."""

from __future__ import annotations

import numpy as np
from handover import Job
from scipy import sparse
from sklearn.decomposition import PCA

COMPONENTS = 30


def log_normalised(counts: sparse.spmatrix | np.ndarray) -> np.ndarray:
    dense = counts.toarray() if sparse.issparse(counts) else np.asarray(counts)
    return np.log1p(dense / np.maximum(dense.sum(1, keepdims=True), 1) * 1e4)


job = Job()
with job.clock("reference"):
    values = log_normalised(job.reference.X)
    mean, scale = values.mean(0), np.maximum(values.std(0), 1e-6)
    components = PCA(COMPONENTS, random_state=job.seed).fit((values - mean) / scale)
    reference = components.transform((values - mean) / scale)
with job.clock("mapping"):
    query = components.transform((log_normalised(job.query.X) - mean) / scale)
job.done(reference, query)
