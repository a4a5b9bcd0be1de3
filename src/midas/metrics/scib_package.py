"""The scores that scib-metrics itself gives of a graph; needs the extra ``scib``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from midas.extras import needs
from midas.metrics.neighbours import Neighbours

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Neighbours that the scores look at, as the Benchmarker of scib-metrics does.
LISI_K: Final = 90
KBET_K: Final = 50
CLUSTER_K: Final = 15


def batch_scores(graph: Neighbours, batch: NDArray[np.str_], labels: NDArray[np.str_]) -> dict[str, float]:
    """``ilisi``, ``kbet`` and ``graph_connectivity`` of two batches or more."""
    package = _package()
    return {
        "ilisi": float(package.ilisi_knn(_first(graph, LISI_K), batch)),
        "kbet": float(package.kbet_per_label(_first(graph, KBET_K), batch, labels)),
        "graph_connectivity": float(package.graph_connectivity(_first(graph, CLUSTER_K), labels)),
    }


def bio_scores(graph: Neighbours, labels: NDArray[np.str_], *, seed: int) -> dict[str, float]:
    """``nmi``, ``ari`` and ``clisi`` of two labels or more."""
    package = _package()
    found = package.nmi_ari_cluster_labels_leiden(_first(graph, CLUSTER_K), labels, seed=seed)
    clisi = float(package.clisi_knn(_first(graph, LISI_K), labels))
    return {"nmi": float(found["nmi"]), "ari": float(found["ari"]), "clisi": clisi}


def _first(graph: Neighbours, k: int) -> Any:  # noqa: ANN401 - a type of the package
    from scib_metrics.nearest_neighbors import NeighborsResults  # noqa: PLC0415 - optional

    some = graph.first(k)
    return NeighborsResults(some.indices, some.distances)


def _package() -> Any:  # noqa: ANN401 - the module
    with needs("scib-metrics", "scib", otherwise=", or use engine='own'."):
        import scib_metrics  # noqa: PLC0415 - optional, and slow to import
    return scib_metrics
