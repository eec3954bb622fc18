import torch

from modeling_mvfer.normalization_mvfer import GlobalBatchNorm


def test_with_one_process_it_is_batch_norm():
    torch.manual_seed(0)
    ours, theirs = GlobalBatchNorm(5).double(), torch.nn.BatchNorm1d(5).double()
    for _ in range(3):
        rows = 3 + 2 * torch.randn(7, 5, dtype=torch.float64)
        torch.testing.assert_close(ours(rows), theirs(rows))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    rows = torch.randn(4, 5, dtype=torch.float64)
    ours.running_var.copy_(theirs.running_var)  # torch keeps the unbiased variance, we the biased one of training
    torch.testing.assert_close(ours.eval()(rows), theirs.eval()(rows))


def test_it_takes_away_what_all_rows_share():
    shared = 100 * torch.randn(8)
    rows = GlobalBatchNorm(8)(shared + torch.randn(64, 8))
    cosines = torch.nn.functional.normalize(rows, dim=1) @ torch.nn.functional.normalize(rows, dim=1).T
    assert cosines.mean() < 0.05


def test_half_precision_rows_get_full_precision_statistics():
    rows = (1000 + torch.randn(64, 4)).to(torch.bfloat16)
    out = GlobalBatchNorm(4)(rows)
    assert out.dtype == torch.bfloat16 and out.isfinite().all()


def test_gradients_are_exact():
    torch.manual_seed(0)
    layer = GlobalBatchNorm(3).double()
    assert torch.autograd.gradcheck(layer, torch.randn(5, 3, dtype=torch.float64, requires_grad=True))
