"""Tasks: what a method may see of data, and the truth that is kept from it.

The mosaic tasks of He et al. (2024) hide whole modalities of whole batches. With A, R and D for chromatin, RNA and proteins, and
a column for each batch, in the order of their names:

================ ===== ===== ===== =====
task             1     2     3     4
================ ===== ===== ===== =====
full             ARD   ARD   ARD   ARD
paired+full      AR    AD    RD    ARD
paired-abc       AR    RD    AD    RD
paired-ab        AR    AD    AR    AD
paired-ac        AR    RD    AR    RD
paired-bc        AD    RD    AD    RD
diagonal+full    A     R     D     ARD
diagonal         A     R     D     D
paired-a         AR    AR    AR    AR
paired-b         AD    AD    AD    AD
paired-c         RD    RD    RD    RD
atac             A     A     A     A
rna              R     R     R     R
adt              D     D     D     D
================ ===== ===== ===== =====

Of two modalities X and Y there are ``paired`` (XY in all), ``<x>+paired`` (X, XY), ``<y>+paired`` (Y, XY), ``diagonal+paired``
(X, Y, XY) and ``diagonal`` (X, Y). More batches than columns start again at the first column. With fewer, the batch with the
most cells per part is cut into one part more until there are enough; a cell's part is drawn at random, and the parts of batch
``b`` are the batches ``b.1``, ``b.2``, ...

Further tasks: ``given`` hides nothing. ``split`` makes of the last batch whose cells have all modalities one batch for each
modality, ``unpaired`` does the same with half of the cells of each batch, which stay in their batch: a link between measurements
is hidden, no count. ``depth-25`` keeps 25 percent of the counts, ``missing-types`` takes another type from every batch.
"""

from midas.metrics.tasks.change import thinned, without_types
from midas.metrics.tasks.choose import make, mosaic, names, split, unpaired
from midas.metrics.tasks.draw import sample
from midas.metrics.tasks.record import Task

__all__ = ["Task", "make", "mosaic", "names", "sample", "split", "thinned", "unpaired", "without_types"]
