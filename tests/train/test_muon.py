"""The shared step of two ranks against PyTorch's, and what it does to singular values."""

import functools

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mvfer.training.muon import SharedMuon, orthogonalised

SHAPES = [(6, 4), (4, 6), (3, 3), (8, 2)]


def steps(optimizer_class) -> tuple[list, list]:
    """Matrices and momenta after three steps; the last matrix never has a gradient."""
    generator = torch.Generator().manual_seed(0)
    matrices = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    optimizer = optimizer_class(matrices, lr=0.03, weight_decay=0.1)
    for _ in range(3):
        for matrix in matrices[:-1]:
            matrix.grad = torch.randn(matrix.shape, generator=generator)
        optimizer.step()
        assert all(matrix.grad is not None for matrix in matrices[:-1])
    return [m.detach() for m in matrices], [optimizer.state[m]["momentum_buffer"] for m in matrices[:-1]]


def run_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(steps(functools.partial(SharedMuon, arithmetic=torch.bfloat16)), f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_step_as_the_plain_optimizer_does(tmp_path):
    mp.spawn(run_rank, args=(str(tmp_path),), nprocs=2)
    expected = steps(torch.optim.Muon)
    for rank in range(2):
        found = torch.load(tmp_path / f"rank{rank}.pt")
        for those, these in zip(found, expected, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(those, these, strict=True))


def test_float32_steps_are_those_of_bfloat16_but_for_rounding():
    for ours, theirs in zip(steps(SharedMuon), steps(torch.optim.Muon), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, atol=2e-3, rtol=0)


def test_singular_values_become_about_one():
    options = {"coefficients": (3.4445, -4.7750, 2.0315), "steps": 5, "eps": 1e-7}
    for shape in ((40, 24), (24, 40)):
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        found = orthogonalised(matrix, **options)
        assert found.dtype == torch.float32 and found.shape == shape
        values = torch.linalg.svdvals(found)
        assert 0.5 < values.min() and values.max() < 1.3
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)
        assert (found * (left @ right)).sum() / found.norm() / (left @ right).norm() > 0.97, "the directions stay"
    assert not orthogonalised(torch.zeros(3, 2), **options).any()
