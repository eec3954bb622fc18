"""Two processes with different shards against one process with the whole batch: losses and gradients."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.functional import pad
from torch.nn.parallel import DistributedDataParallel

from modeling_mvfer.distributed_mvfer import all_reduce_sum, gather_padded, gather_rows, world_size

SCENARIOS = {
    "infonce": {"cross_modal_weight": 0.3},
    "sigmoid": {"contrastive_form": "sigmoid", "cross_modal_weight": 0.3, "cross_modal_form": "full"},
    "phrases on one rank": {},
    "sides": {"side_weight": 0.7},
    "sides on one rank": {"side_weight": 0.7},
    "no phrases": {"fusion": "mean"},
    "in parts": {"cross_modal_weight": 0.3},
    "described on one rank": {"cross_modal_weight": 0.3, "triplet_weight": 0.2},
    "described nowhere": {"contrastive_form": "sigmoid", "cross_modal_weight": 0.3, "margin_contrast_weight": 0.3},
    "between views": {"margin_contrast_weight": 0.3, "triplet_weight": 0.2, "consistency_weight": 0.1},
    "maximum": {"fusion": "max"},
    "text-guided": {"fusion": "text", "fusion_prompt_ids": [[0, 5, 1], [0, 7, 8, 1]]},
    "assignments": {"cross_modal_weight": 0.3, "triplet_weight": 0.2},
    "batch norm": {"vision_stem": "convolution", "stem_channels": [4, 6, 8], "stem_blocks": [0, 1, 1]},
}
CAPTIONS = torch.tensor([[0, 5, 6, 1, 3, 3], [0, 7, 1, 3, 3, 3], [0, 8, 9, 10, 11, 1], [0, 12, 13, 1, 3, 3]])
PHRASES = torch.tensor([[0, 20, 1], [0, 21, 1], [0, 22, 1]])
OWNED = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).bool()
SHOWN = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]).bool()
NO_TEXT = torch.tensor([[0, 1]])  # an empty text, which is true of no sample
SECOND_HALF = (torch.arange(6) >= 3).unsqueeze(1)
SHARES = torch.tensor(
    [[0.6, 0.4, 0, 0], [0, 0, 0, 0], [0.1, 0.2, 0.3, 0.4], [0, 1, 0, 0], [0, 0, 0.5, 0.5], [0.7, 0.1, 0.1, 0.1]]
).double()
OPPOSITES = torch.tensor([1, 0, -1])
LISTED = {  # captions and phrases that each rank lists; the second caption is on both, with other padding
    "captions": ([0, 1], [1, 2, 3]),
    "phrases": ([0, 1], [1, 2]),
}


def whole_batch(scenario: str) -> dict:
    generator = torch.Generator().manual_seed(4)
    view_mask = torch.rand(6, 2, 3, generator=generator) > 0.3
    view_mask[:3, :, 2] = False  # the first rank never sees the third view
    view_mask[:, 0, 1] = True
    batch = {
        "pixel_values": torch.randn(6, 2, 3, 3, 16, 16, generator=generator, dtype=torch.float64),
        "view_mask": view_mask,
        "input_ids": CAPTIONS,
        "text_targets": OWNED,
    }
    if scenario == "assignments":
        batch |= {"text_targets": None, "text_assignments": SHARES}
    elif scenario == "described on one rank":
        batch |= {"input_ids": CAPTIONS[1:], "text_targets": (OWNED & SECOND_HALF)[:, 1:]}
        batch |= {"phrase_input_ids": PHRASES, "phrase_targets": SHOWN.flip(0) & SECOND_HALF}
    elif scenario == "described nowhere":
        batch |= {"input_ids": NO_TEXT, "text_targets": torch.zeros(6, 1, dtype=torch.bool)}
    elif scenario != "no phrases":
        batch |= {"phrase_input_ids": PHRASES, "phrase_targets": SHOWN}
    if scenario.startswith("sides"):
        batch["phrase_opposites"] = OPPOSITES
    return batch


def shard(batch: dict, rank: int, scenario: str) -> dict:
    rows = slice(3 * rank, 3 * rank + 3)
    captions, phrases = LISTED["captions"][rank], LISTED["phrases"][rank]
    result = {name: batch[name][rows] for name in ("pixel_values", "view_mask")}
    if scenario == "assignments":  # to the same prompts on both ranks
        return result | {"input_ids": CAPTIONS, "text_assignments": SHARES[rows]}
    if scenario == "described nowhere" or scenario == "described on one rank" and rank == 0:
        return result | {"input_ids": NO_TEXT, "text_targets": torch.zeros(3, 1, dtype=torch.bool)}
    if scenario == "described on one rank":
        texts = {name: batch[name] for name in ("input_ids", "phrase_input_ids")}
        return result | texts | {name: batch[name][rows] for name in ("text_targets", "phrase_targets")}
    result["input_ids"] = batch["input_ids"][captions][:, : (4, 6)[rank]]
    result["text_targets"] = batch["text_targets"][rows][:, captions]
    if scenario == "sides" or scenario == "sides on one rank" and rank == 0:  # no sample of the other rank has any
        result |= {"phrase_input_ids": PHRASES, "phrase_targets": SHOWN[rows], "phrase_opposites": OPPOSITES}
    elif not scenario.endswith(("phrases", "on one rank")):
        result["phrase_input_ids"] = pad(PHRASES[phrases], (0, rank), value=3)
        result["phrase_targets"] = SHOWN[rows][:, phrases]
    elif scenario == "phrases on one rank" and rank == 0:
        result |= {"phrase_input_ids": PHRASES, "phrase_targets": SHOWN[rows]}
    return result


def step(model, batch: dict) -> dict:
    output = model(**batch, return_loss=True)
    output.loss.backward()
    losses = {"loss": output.loss.detach(), **{name: value.detach() for name, value in output.losses.items()}}
    inner = getattr(model, "module", model)
    return {"losses": losses, "gradients": {name: p.grad.clone() for name, p in inner.named_parameters()}}


def run_rank(rank: int, folder: str, models: dict) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    results = {
        scenario: step(DistributedDataParallel(model), shard(whole_batch(scenario), rank, scenario))
        for scenario, model in models.items()
    }
    rows = torch.arange(2.0 + rank, requires_grad=True)
    padded, real = gather_padded(rows, fill=-1)
    (padded * torch.arange(6.0)).sum().backward()
    value = torch.tensor(float(rank + 1), requires_grad=True)
    all_reduce_sum(value).square().backward()
    results["collectives"] = (padded.detach(), real, rows.grad, value.grad, gather_rows(torch.tensor([rank])))
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory, request):
    """What two processes computed, and the models they started from."""
    from modeling_mvfer import MVFERConfig, MVFERModel
    from tests.conftest import TEXT, VISION

    models = {}
    for scenario, fields in SCENARIOS.items():
        torch.manual_seed(7)
        config = MVFERConfig(text_config=TEXT, vision_config=VISION, projection_dim=8, projector_size=12, **fields)
        models[scenario] = MVFERModel(config).double()
        models[scenario].tower_batch = 4 if scenario == "in parts" else 0
        for parameter in models[scenario].parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(run_rank, args=(str(folder), models), nprocs=2)
    return models, [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_two_ranks_equal_one_process(ranks, scenario):
    models, results = ranks
    expected = step(models[scenario], whole_batch(scenario))
    for rank in range(2):
        for kind in ("losses", "gradients"):
            found = results[rank][scenario][kind]
            assert set(found) == set(expected[kind])
            for name, value in expected[kind].items():
                torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
    assert expected["losses"]["cross_view"] > 0


def test_collectives_gather_sum_and_pass_gradients_exactly(ranks):
    for rank, result in enumerate(r["collectives"] for r in ranks[1]):
        padded, real, row_gradient, value_gradient, order = result
        assert padded.tolist() == [0, 1, -1, 0, 1, 2]
        assert real.tolist() == [True, True, False, True, True, True]
        assert row_gradient.tolist() == ([0, 2], [6, 8, 10])[rank]  # both ranks' losses
        assert value_gradient == 12  # two ranks, each 2 * (1 + 2)
        assert order.tolist() == [0, 1]


def test_one_process_needs_no_collectives():
    rows = torch.randn(3, 2)
    assert world_size() == 1
    assert gather_rows(rows) is rows and all_reduce_sum(rows) is rows
    padded, real = gather_padded(rows)
    assert torch.equal(padded, rows) and real.all()
