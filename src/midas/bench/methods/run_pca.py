"""Principal components of each modality, side by side: no integration at all."""

from __future__ import annotations

from task_file import arguments, joined_components, read, write

args = arguments()
task = read(args.task)
write(args.out, task, {"embedding": joined_components(task, args.seed)}, package="scikit-learn")
