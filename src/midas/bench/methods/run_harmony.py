"""Harmony (harmonypy) on joined principal components, at its defaults."""

from __future__ import annotations

import harmonypy
import numpy as np
import pandas as pd
from task_file import Clock, arguments, joined_components, read, write

args = arguments()
task = read(args.task)
before = joined_components(task, args.seed)
clock = Clock(None)
obs = pd.DataFrame({"batch": task.batch}, index=task.cells)
found = harmonypy.run_harmony(before, obs, "batch", random_state=args.seed, verbose=False)
corrected = np.asarray(found.Z_corr)
if corrected.shape != before.shape:  # older versions give one column per cell
    corrected = corrected.T
write(args.out, task, {"embedding": corrected}, package="harmonypy", train_cpu_s=clock.seconds)
