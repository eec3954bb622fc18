"""Model folders of strangers: nothing in them runs, and nothing is allocated that they only claim."""

import json
import pickle
import shutil

import pytest
import torch

from mvfer.hub.load import load_run
from tests.witnesses import watched


class Weapon:
    def __reduce__(self):
        return (open, ("/etc/hostname",))


@pytest.fixture
def folder(small_run, tmp_path):
    return shutil.copytree(small_run, tmp_path / "run")


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_pickles_beside_safetensors_are_not_read_and_alone_are_refused(folder):
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.bin", "scheduler.pt"):
        (folder / name).write_bytes(pickle.dumps(Weapon()))
    with watched() as seen:
        load_run(folder)
    assert seen == []
    (folder / "model.safetensors").unlink()
    with watched() as seen, pytest.raises(ValueError, match=r"no model\.safetensors there; .* may hold programs"):
        load_run(folder)
    assert seen == []


def test_code_in_the_folder_does_not_run(folder, tmp_path):
    trap = f"open({str(tmp_path / 'was_run')!r}, 'w').close()\n"
    for path in folder.glob("*_mvfer.py"):
        path.write_text(trap)
    for name in ("trap.py", "tokenization_trap.py", "__init__.py"):
        (folder / name).write_text(trap)
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        places = {
            "AutoConfig": "trap.A",
            "AutoModel": "trap.B",
            "AutoProcessor": "trap.C",
            "AutoImageProcessor": "trap.D",
        }
        change(folder / name, auto_map=places | {"AutoTokenizer": ["trap.E", "trap.F"]})
    try:
        load_run(folder)
    except (ValueError, OSError):
        pass  # refused is as good
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize("part, values", [
    (None, {"fusion_hidden_size": 10**9}), (None, {"temporal_layers": 10**6}), (None, {"num_labels": 10**9}),
    (None, {"stem_blocks": [0, 10**5, 1, 1]}), (None, {"projection_dim": 2**23}), (None, {"fusion_frequencies": 10**6}),
    ("vision_config", {"hidden_size": 3 * 2**20}), ("vision_config", {"hidden_size": 2**22}),
    ("vision_config", {"num_hidden_layers": 10**9}),
    ("text_config", {"vocab_size": 2**24}), ("text_config", {"intermediate_size": 2**31}),
])  # fmt: skip
def test_a_configuration_that_claims_more_than_the_weights_hold_is_refused_at_once(folder, part, values):
    config = json.loads((folder / "config.json").read_text())
    (config[part] if part else config).update(values)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"its config\.json (says|describes|makes)|must|expected"):
        load_run(folder)


def test_json_of_gigabytes_is_refused_unread(folder):
    with (folder / "tokenizer.json").open("r+b") as file:
        file.truncate(2**31)
    with pytest.raises(ValueError, match=r"tokenizer\.json: 2147483648 bytes of JSON"):
        load_run(folder)


def test_a_folder_of_ours_loads_as_before(folder, small_model):
    model, processor = load_run(folder)
    assert processor.image_processor.size_px == 32
    for ours, theirs in zip(small_model.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
