"""Recorded steps: the same as others, whatever the minibatch holds. Without a GPU there is nothing to record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from helpers import on_gpu, simulated, tiny
from midas import MIDAS, Config
from midas.data.loader import epoch_indices
from midas.data.minibatch import gather
from midas.nn import Noise
from midas.ranks import Ranks
from midas.training.loop import learner_for
from midas.training.recorded import Recorder, records
from midas.training.step import Anchor, Learner, train_step


def config(**training: Any) -> Config:
    # Which count is thinned by how much depends on the room that is left after the counts.
    return tiny(accelerator="cuda", **training, network={"thinning": 0.0})


def learner_and_minibatches(seed: int = 0) -> tuple[Learner, MIDAS, list[np.ndarray]]:
    model = MIDAS(simulated(n_cells=900, unpaired_fraction=0.3), config=config(), seed=seed)
    assert model.mosaic is not None
    learner = learner_for(model.vae, model.discriminators, model.mosaic, model.config)
    cells, rng = np.arange(model.mosaic.n_cells), np.random.default_rng(0)
    drawn = [
        index
        for _ in range(3)
        for index in epoch_indices(
            cells, model.mosaic.batch, 100, model.config.training, rng, model.mosaic, order="alike"
        )
    ]
    return learner, model, drawn


def test_only_a_process_that_trains_alone_and_freely_on_a_gpu_records() -> None:
    model = MIDAS(simulated(n_cells=60), config=tiny())
    assert model.mosaic is not None
    learner = learner_for(model.vae, model.discriminators, model.mosaic, model.config)
    assert not records(learner, alike=True)
    gpu = replace(learner, compute=replace(learner.compute, device=torch.device("cuda")))
    assert records(gpu, alike=True)
    assert not records(gpu, alike=False)
    assert not records(replace(gpu, compute=replace(gpu.compute, ranks=Ranks(0, 2))), alike=True)
    assert not records(replace(gpu, anchor=Anchor(torch.zeros(1, 1), torch.zeros(1))), alike=True)
    assert not records(replace(gpu, config=tiny(cuda_graphs=False)), alike=True)


@on_gpu
def test_recorded_steps_are_the_same_as_others() -> None:
    results = []
    for recorded in (False, True):
        learner, model, drawn = learner_and_minibatches()
        assert model.mosaic is not None
        device = learner.compute.device
        recorder, noise, terms = Recorder(device), Noise(0, device), []
        for step, index in enumerate(drawn):
            minibatch, progress = gather(model.mosaic, index), step / len(drawn)
            with_batch = step % 5 != 4
            noise.restart(step)
            if recorded:
                found = recorder.step(learner, minibatch, noise, with_batch=with_batch, progress=progress)
            else:
                moved = minibatch.to(device)
                found = train_step(learner, moved, noise, with_batch=with_batch, progress=progress).named()
            terms.append({name: float(term) for name, term in found.items()})
        if recorded:
            assert any(graph is not None for graph in recorder._graphs.values())
            assert recorder.replayed > len(drawn) / 2
        weights = torch.cat([p.detach().flatten() for p in learner.vae.parameters()]).cpu().numpy()
        results.append((weights, terms))
    (weights, terms), (others, other_terms) = results
    for one, other in zip(terms, other_terms, strict=True):
        assert one == pytest.approx(other, rel=2e-3, abs=2e-3)
    np.testing.assert_allclose(weights, others, atol=2e-3)


@on_gpu
@pytest.mark.parametrize("sampling", ["mixed", "by_batch"])
def test_a_run_ends_like_one_without_records(sampling: str) -> None:
    runs = [
        MIDAS(
            simulated(n_cells=600),
            config=tiny(accelerator="cuda", epochs=30, validation_fraction=0.2, sampling=sampling, cuda_graphs=graphs),
        ).fit(progress=False)
        for graphs in (True, False)
    ]
    first, second = (run.history["val_total"].to_numpy() for run in runs)
    assert np.isfinite(runs[0].latent()).all()
    assert abs(first[-1] - second[-1]) < 0.1 * (second[0] - second[-1])


@on_gpu
def test_more_counts_than_there_is_room_for_are_not_lost() -> None:
    learner, model, drawn = learner_and_minibatches()
    assert model.mosaic is not None
    recorder, noise = Recorder(learner.compute.device), Noise(0, learner.compute.device)
    minibatch = gather(model.mosaic, drawn[0])
    few = replace(
        minibatch,
        counts={n: replace(part, flat=part.flat[:5], values=part.values[:5]) for n, part in minibatch.counts.items()},
    )
    many = {
        n: replace(
            part,
            flat=torch.arange(len(part.cells) * part.n_features),
            values=torch.ones(len(part.cells) * part.n_features),
        )
        for n, part in minibatch.counts.items()
    }
    for _ in range(3):
        recorder.step(learner, few, noise, with_batch=True, progress=1.0)
    before = recorder.replayed
    assert before
    full = replace(minibatch, counts=many)
    report = recorder.step(learner, full, noise, with_batch=True, progress=1.0)
    assert all(torch.isfinite(term) for term in report.values())
    if any(len(part.flat) > 1100 for part in full.counts.values()):
        assert recorder.replayed == before
