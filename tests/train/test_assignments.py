import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mvfer.training.teacher import balanced_assignments, effective_number, effective_rank, global_mean

LOGITS = 3 * torch.randn(12, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def sinkhorn_by_loops(logits, iterations):
    """Alternate sums over columns and rows of exp(logits), one entry at a time."""
    rows = [[math.exp(value) for value in row] for row in logits.tolist()]
    for _ in range(iterations):
        for k in range(len(rows[0])):
            total = sum(row[k] for row in rows)
            for row in rows:
                row[k] /= total
        rows = [[value / sum(row) for value in row] for row in rows]
    return torch.tensor(rows, dtype=torch.float64)


def test_assignments_equal_loops_and_do_not_overflow():
    torch.testing.assert_close(balanced_assignments(LOGITS), sinkhorn_by_loops(LOGITS, 3))
    torch.testing.assert_close(balanced_assignments(LOGITS + 5000), balanced_assignments(LOGITS))


def test_every_scan_is_shared_out_and_every_prompt_gets_the_same():
    biased = LOGITS + torch.tensor([9.0, 0.0, 0.0, 0.0])  # unbalanced, nearly all would go to the first
    assert biased.softmax(dim=1).sum(dim=0)[0] > 10
    shares = balanced_assignments(biased, iterations=50)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(12).double())
    torch.testing.assert_close(shares.sum(dim=0), torch.full((4,), 3.0).double(), rtol=1e-3, atol=0)


def test_effective_numbers():
    assert effective_number(torch.tensor([2.0, 2.0, 2.0, 0.0])) == pytest.approx(3)
    assert effective_number(torch.tensor([0.0, 5.0])) == pytest.approx(1)
    line = torch.linspace(-1, 1, 9).unsqueeze(1) * torch.tensor([[1.0, 2.0, 0.5]]) + 7  # one dimension, far from zero
    assert effective_rank(line) == pytest.approx(1, abs=1e-4)
    assert effective_rank(torch.cat([torch.eye(3), -torch.eye(3)])) == pytest.approx(3)


def run_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    rows = LOGITS[:5] if rank == 0 else LOGITS[5:]
    torch.save((balanced_assignments(rows), global_mean(rows)), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_balance_over_both_batches(tmp_path):
    mp.spawn(run_rank, args=(str(tmp_path),), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    shares = torch.cat([shares for shares, _ in found])
    torch.testing.assert_close(shares, balanced_assignments(LOGITS), rtol=1e-9, atol=1e-9)
    for _, mean in found:
        torch.testing.assert_close(mean, LOGITS.mean(dim=0), rtol=1e-9, atol=1e-9)
