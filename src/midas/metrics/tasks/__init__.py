"""Tasks: the part of the data that a method may see, and the truth withheld from it.

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

With two modalities X and Y there are ``paired`` (XY in all), ``<x>+paired`` (X, XY), ``<y>+paired`` (Y, XY), ``diagonal+paired``
(X, Y, XY) and ``diagonal`` (X, Y). If there are more batches than columns, the columns repeat. If there are fewer, the batch with
the most cells per part is split into one more part until there are enough; cells are assigned to parts at random, and the parts
of batch ``b`` are the batches ``b.1``, ``b.2``, ...

Further tasks: ``given`` hides nothing. ``split`` turns the last batch whose cells have all modalities into one batch per
modality; ``unpaired`` does the same with half of the cells of each batch, which stay in their batch. Both hide which measurements
belong together, but no counts. ``depth-25`` keeps 25 percent of the counts; ``missing-types`` removes a different type from each
batch.
"""

from midas.metrics.tasks.change import thinned, without_types
from midas.metrics.tasks.choose import make, mosaic, names, split, unpaired
from midas.metrics.tasks.draw import sample
from midas.metrics.tasks.record import Task

__all__ = ["Task", "make", "mosaic", "names", "sample", "split", "thinned", "unpaired", "without_types"]
