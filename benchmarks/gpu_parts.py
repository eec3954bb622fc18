"""What `benchmarks.gpu` measures: renderer, ViT-B/16, small model, overflow, memory of the losses, DDP. In: a `Bench`."""

from __future__ import annotations

import copy
import datetime
import functools
import math
import os
import statistics
import tempfile

import numpy as np
import torch
from torch.nn import functional as F
from transformers import CLIPModel

from benchmarks.gpu_bench import (
    DTYPES,
    PHRASES,
    TEXT_LENGTH,
    Bench,
    batch_of,
    clip_config,
    interleaved,
    profile,
    step_flops,
    step_of,
)
from benchmarks.render import synthetic_head
from modeling_mvfer import MVFERConfig, MVFERModel
from modeling_mvfer.contrast_mvfer import contrastive_loss
from modeling_mvfer.objectives_mvfer import TextFeatures, ViewFeatures
from mvfer.training.presets import small_config
from processing.cameras_mvfer import DEFAULT_VIEW_ANGLES_DEG
from processing.framing_mvfer import FRAMED
from processing.rendering_mvfer import RenderSettings, render_scan, render_views

PEAKS = {"data_sheet_989e12": 989e12, "measured_790e12": 790e12}  # dense bf16 of H100 and H200, FLOP/s


def renderer(bench: Bench) -> None:
    """Views per second of the torch backend on the device and of one CPU core, and whether the pixels agree."""
    torch.set_num_threads(1)
    for triangles in bench.pick((7_000, 50_000), (600,)):
        vertices, faces = synthetic_head(triangles)
        for size_px in bench.pick((64, 224), (32,)):
            bench.measure(f"{triangles} triangles, {size_px} px", _renderers, vertices, faces, size_px)


def _core_backends(bench: Bench, vertices: torch.Tensor, faces: torch.Tensor) -> list[str]:
    """The backends that run here: numba may be missing, or not fit the NumPy beside it."""
    try:
        render_views(vertices, faces, view_angles_deg=DEFAULT_VIEW_ANGLES_DEG, size_px=8, backend="numba")
    except Exception as error:
        bench.note("numba", {"skipped": f"{type(error).__name__}: {error}"[:500]})
        return ["torch"]
    return ["torch", "numba"]


def _renderers(bench: Bench, vertices: np.ndarray, faces: np.ndarray, size_px: int) -> dict:
    one, faces = torch.as_tensor(vertices)[None].float(), torch.as_tensor(faces)
    on_device, views = faces.to(bench.device), len(DEFAULT_VIEW_ANGLES_DEG)
    options = {"view_angles_deg": DEFAULT_VIEW_ANGLES_DEG, "size_px": size_px}
    speed, buffers = {}, {}
    for backend in _core_backends(bench, one, faces):
        settings = RenderSettings(size_px=size_px, backend=backend)
        runs = {
            "buffers": functools.partial(render_views, one, faces, backend=backend, **options),
            "images": functools.partial(render_scan, one, faces, settings, frame=FRAMED),
        }
        buffers[backend] = runs["buffers"]() | {"images": torch.from_numpy(runs["images"]())}
        speed |= {f"core, {backend}, {name}": views / bench.median(run) for name, run in runs.items()}
    settings = RenderSettings(size_px=size_px)
    for meshes in bench.pick((1, 16, 64), (1, 3)):
        many = torch.cat([one * (1 - 0.001 * i) for i in range(meshes)]).to(bench.device)
        runs = {
            "buffers": functools.partial(render_views, many, on_device, **options),
            "buffers, 192 at once": functools.partial(render_views, many, on_device, chunk=192, **options),
            "images": functools.partial(render_scan, many, on_device, settings, frame=FRAMED),
        }
        for name, run in runs.items():
            speed[f"device, {meshes} meshes, {name}"] = meshes * views / bench.median(run)
        drawn = runs["buffers"]() | {"images": torch.from_numpy(runs["images"]())}
        buffers[f"device, {meshes} meshes"] = {name: value[:1].cpu() for name, value in drawn.items()}
    reference = buffers.pop("torch")
    best = {
        kind: max(v for n, v in speed.items() if n.startswith("device") and kind in n) for kind in ("buffers", "images")
    }
    return {
        "views_per_second": {name: round(value, 1) for name, value in speed.items()},
        "times_one_core": {
            f"{kind}, {backend}": round(fastest / speed[f"core, {backend}, {kind}"], 1)
            for kind, fastest in best.items()
            for backend in ("torch", "numba")
            if f"core, {backend}, {kind}" in speed
        },
        "pixels_that_differ_from_the_cpu": {name: _differences(value, reference) for name, value in buffers.items()},
    }


def _differences(drawn: dict, reference: dict) -> dict:
    """Per buffer the share of pixels that differ and the largest difference, where both see the surface."""
    both = (drawn["mask"] > 0) & (reference["mask"] > 0)  # (1, V, 1, H, W)
    found = {"mask": {"share": float((drawn["mask"] != reference["mask"]).float().mean())}}
    for name, axis in (("depth", 2), ("normal", 2), ("images", -1)):
        apart = (drawn[name].float() - reference[name].float()).abs().amax(axis)  # (1, V, H, W)
        apart = apart if name == "images" else apart * both[:, :, 0]
        limit = 1 if name == "images" else 1e-4
        shares = {"share": apart > 0, f"share_above_{limit}": apart > limit}
        found[name] = {key: float(value.float().mean()) for key, value in shares.items()} | {
            "largest": float(apart.max())
        }
    return found


def vit(bench: Bench) -> None:
    """ViT-B/16 with random weights: all default objectives on V views beside plain CLIP on as many images."""
    for compiled in (False, True):
        for views in bench.pick((3, 1, 5), (3, 1)[: 2 - compiled]):
            name = f"{views} views, {'compiled layers' if compiled else 'eager'}"
            bench.measure(name, _beside_clip, views, compiled, needs=bench.pick(40.0 if compiled else 15.0, 1.0))
        if not compiled:
            bench.measure("profile, 3 views, eager", _vit_profile)


def _beside_clip(bench: Bench, views: int, compiled: bool) -> dict:
    config = clip_config(bench)
    images = bench.pick(480, 15)
    while True:
        try:
            return _beside_clip_on(bench, config, images // views, views, compiled)
        except torch.cuda.OutOfMemoryError:
            if images < 60:
                raise
        bench.free()
        images //= 2


def _beside_clip_on(bench: Bench, config: MVFERConfig, scans: int, views: int, compiled: bool) -> dict:
    torch.manual_seed(0)
    batch = batch_of(bench, config, scans, views)
    ours, plain = bench.model(MVFERModel, config), bench.model(CLIPModel, config)
    if compiled:
        bench.compile_layers(ours, plain)
    own = torch.arange(scans, device=bench.device).repeat_interleave(views)

    def plain_loss() -> torch.Tensor:
        logits = plain(input_ids=batch["input_ids"], pixel_values=batch["pixel_values"].flatten(0, 1)).logits_per_image
        return F.cross_entropy(logits.float(), own)

    steps = {
        "mvfer": step_of(bench, ours, lambda: ours(**batch, return_loss=True).loss, "bf16"),
        "clip": step_of(bench, plain, plain_loss, "bf16"),
    }
    warm_up = {name: round(bench.seconds(step), 2) for name, step in steps.items()}  # compiles, if anything
    rounds = interleaved(bench, steps)
    seconds = {name: statistics.median(r[name] for r in rounds) for name in steps}
    flops = {"mvfer": step_flops(config, scans, views, phrases=True), "clip": step_flops(config, scans, views)}
    return {
        "scans": scans,
        "images": scans * views,
        "first_step_s": warm_up,
        "steps_per_second": {name: 1 / value for name, value in seconds.items()},
        "spread": {name: [min(r[name] for r in rounds), max(r[name] for r in rounds)] for name in steps},
        "scans_per_second": scans / seconds["mvfer"],
        "time_over_clip": statistics.median(r["mvfer"] / r["clip"] for r in rounds),
        "peak_above_weights_mib": {name: bench.memory(step) for name, step in steps.items()},
        "tflop_per_step": {name: value / 1e12 for name, value in flops.items()},
        "model_flop_use": {
            name: {peak: flops[name] / seconds[name] / rate for peak, rate in PEAKS.items()} for name in steps
        },
    }


def _vit_profile(bench: Bench) -> dict:
    config = clip_config(bench)
    batch, model = batch_of(bench, config, bench.pick(80, 4), 3), bench.model(MVFERModel, config)
    return profile(bench, step_of(bench, model, lambda: model(**batch, return_loss=True).loss, "bf16"))


def small(bench: Bench) -> None:
    """The model that `train.py` trains from scratch, with its optimizers, at 256 scans of three views."""
    arms = [("bf16", "eager", False), ("float32", "eager", False), ("bf16", "sdpa", False), ("bf16", "sdpa", True)]
    for precision, attention, compiled in bench.pick(arms, arms[:2]):
        name = f"{precision}, {attention} attention{', compiled layers' * compiled}"
        needs = bench.pick(20.0 if compiled else 6.0, 1.0)
        bench.measure(name, _small_steps, precision, attention, compiled, needs=needs)
    bench.measure("profile, bf16", lambda bench: profile(bench, _small_step(bench, "bf16", "eager")[0]))


def _small_step(bench: Bench, precision: str, attention: str, compiled: bool = False):
    torch.manual_seed(0)
    config = small_config(image_size=bench.pick(64, 32))
    batch, model = batch_of(bench, config, bench.pick(256, 8), 3), bench.model(MVFERModel, config)
    model.set_attn_implementation(attention)
    if compiled:
        bench.compile_layers(model)
    inner = [p for n, p in model.named_parameters() if p.ndim == 2 and (".layers." in n or ".stages." in n)]
    ours = set(map(id, inner))
    others = [p for p in model.parameters() if id(p) not in ours]
    optimizers = [torch.optim.AdamW(others, lr=1e-3), torch.optim.Muon(inner, lr=0.03, weight_decay=0.0)]
    step = step_of(bench, model, lambda: model(**batch, return_loss=True).loss, precision, optimizers)
    return step, model, optimizers


def _small_steps(bench: Bench, precision: str, attention: str, compiled: bool) -> dict:
    step, model, optimizers = _small_step(bench, precision, attention, compiled)
    step()
    seconds = bench.median(step, times=bench.pick(10, 1))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    update = bench.median(lambda: [optimizer.step() for optimizer in optimizers], times=bench.pick(5, 1))
    return {
        "steps_per_second": 1 / seconds,
        "ms_per_step": 1e3 * seconds,
        "ms_of_the_optimizers": 1e3 * update,
        "peak_above_weights_mib": bench.memory(step),
    }


def overflow(bench: Bench) -> None:
    """Losses and gradients in 16 bits against float32's: at the start, and with large pixels and CLIP's largest scale."""
    for model in ("small", "ViT-B/16"):
        for case in ("start", "hard"):
            bench.measure(f"{model}, {case}", _sixteen_bits, model, case, needs=bench.pick(8.0, 1.0))
    bench.measure("small, trained", _trained_in_sixteen_bits, needs=bench.pick(15.0, 1.0))


def _sixteen_bits(bench: Bench, name: str, case: str) -> dict:
    torch.manual_seed(0)
    config = small_config(image_size=bench.pick(64, 32)) if name == "small" else clip_config(bench)
    scans = bench.pick(64 if name == "small" else 32, 6)
    batch, model = batch_of(bench, config, scans, 3), bench.model(MVFERModel, config).train()
    if case == "hard":
        batch["pixel_values"] *= 10
        model.logit_scale.data.fill_(math.log(100))
    found, reference = {}, None
    for precision in DTYPES:
        scale, finite = 2.0**16 if precision == "fp16" else 1.0, False
        while not finite and scale >= 1:  # as a scaler would, which starts here and halves
            model.zero_grad()
            with bench.autocast(precision):
                loss = model(**batch, return_loss=True).loss
            (scale * loss).backward()
            gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).double() / scale
            finite, last_scale, scale = bool(gradient.isfinite().all()), scale, scale / 2
        reference = (loss.item(), gradient) if reference is None else reference
        found[precision] = {
            "loss": loss.item(),
            "relative_to_float32": abs(loss.item() - reference[0]) / abs(reference[0]),
            "gradients_are_finite": finite,
            "loss_scale": last_scale,
            "gradient_cosine": F.cosine_similarity(gradient, reference[1], dim=0).item(),
        }
    return found


def _trained_in_sixteen_bits(bench: Bench) -> dict:
    """Two hundred steps on eight batches that repeat: last losses, and steps that the scaler left out."""
    found, config = {}, small_config(image_size=bench.pick(64, 32))
    steps = bench.pick(200, 3)
    for precision in DTYPES:
        torch.manual_seed(0)
        model = bench.model(MVFERModel, config).train()
        batches = [batch_of(bench, config, bench.pick(64, 4), 3) for _ in range(8)]
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4)
        scaler = torch.amp.GradScaler(bench.device.type, enabled=precision == "fp16")
        losses, skipped = [], 0
        for step in range(steps):
            with bench.autocast(precision):
                loss = model(**batches[step % 8], return_loss=True).loss
            scaler.scale(loss).backward()
            scale = scaler.get_scale()
            scaler.step(optimizer)
            scaler.update()
            skipped += scaler.get_scale() < scale
            optimizer.zero_grad()
            losses.append(loss.detach())
        losses = torch.stack(losses)
        found[precision] = {
            "first_loss": losses[0].item(),
            "last_loss": losses[-8:].mean().item(),
            "losses_are_finite": bool(losses.isfinite().all()),
            "skipped_steps": skipped,
        }
    return found


def contrast(bench: Bench) -> None:
    """Time and memory of the losses alone, forward and backward, on features that are given."""
    for scans in bench.pick((512, 2048, 8192), (16, 32)):
        bench.measure(f"{scans} scans", _losses_alone, scans)


def _losses_alone(bench: Bench, scans: int) -> dict:
    config, views, device = clip_config(bench), 3, bench.device
    D, objective = config.projection_dim, bench.model(MVFERModel, config).objective
    images, texts, phrases = (torch.randn(n, D, device=device, requires_grad=True) for n in (scans, scans, PHRASES))
    seen = torch.randn(scans, 1, views, D, device=device, requires_grad=True)
    own, scale = torch.eye(scans, dtype=torch.bool, device=device), torch.tensor(14.3, device=device)
    shown = torch.rand(scans, PHRASES, device=device) < 0.2
    mask = torch.ones(scans, 1, views, dtype=torch.bool, device=device)

    def one_term() -> None:
        contrastive_loss(F.normalize(images, dim=-1), F.normalize(texts, dim=-1), own, scale).backward()

    def all_terms() -> None:
        views = ViewFeatures(images, seen, mask, seen[:, 0], mask[:, 0])
        captions = torch.arange(scans, device=device)[:, None].expand(-1, TEXT_LENGTH)
        described = TextFeatures(phrases, torch.arange(PHRASES, device=device)[:, None], shown)
        objective(views, TextFeatures(texts, captions, own), described, scale=scale)["loss"].backward()

    runs = {"contrast": one_term, "all_default_terms": all_terms}
    return {name: {"peak_mib": bench.memory(run), "ms": 1e3 * bench.median(run)} for name, run in runs.items()}


def ddp(bench: Bench) -> None:
    """One process of `DistributedDataParallel`: the same loss and gradients as without, and what it costs."""
    bench.measure("one process", _one_process, needs=bench.pick(15.0, 1.0))


def _one_process(bench: Bench) -> dict:
    os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")  # one machine, perhaps without a network
    torch.manual_seed(0)
    config = clip_config(bench)
    batch, alone = batch_of(bench, config, bench.pick(96, 4), 3), bench.model(MVFERModel, config).train()
    with tempfile.TemporaryDirectory() as folder:
        torch.distributed.init_process_group(
            "nccl" if bench.on_cuda else "gloo",
            init_method=f"file://{folder}/rendezvous",
            world_size=1,
            rank=0,
            timeout=datetime.timedelta(seconds=30),
        )
        try:
            wrapped = torch.nn.parallel.DistributedDataParallel(copy.deepcopy(alone))
            models, losses = {"alone": alone, "ddp": wrapped}, {}
            for name, model in models.items():
                with bench.autocast("bf16"):
                    losses[name] = model(**batch, return_loss=True).loss
                losses[name].backward()
            pairs = zip(alone.parameters(), wrapped.parameters(), strict=True)
            apart = max(float((a.grad - b.grad).abs().max()) for a, b in pairs if a.grad is not None)
            steps = {
                name: step_of(bench, model, lambda model=model: model(**batch, return_loss=True).loss, "bf16")
                for name, model in models.items()
            }
            rounds = interleaved(bench, steps)
        finally:
            torch.distributed.destroy_process_group()
    return {
        "loss": {name: value.item() for name, value in losses.items()},
        "largest_difference_of_a_gradient": apart,
        "ms_per_step": {name: 1e3 * statistics.median(r[name] for r in rounds) for name in steps},
        "time_over_alone": statistics.median(r["ddp"] / r["alone"] for r in rounds),
    }
