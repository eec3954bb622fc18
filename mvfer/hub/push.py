"""From a run's folder to the Hub. In: what `save_run` wrote. Out: the address of a commit."""

import json
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HTTPError

from mvfer.data.scan_digests import SEEN_FILE
from mvfer.data.without_folders import without_folders

RECIPE = "train_config.json"  # its paths are of this computer
PUBLISHED = ["*.py", "*.json", "*.jsonl", "*.txt", "*.safetensors", "*.png", "README.md"]
KEPT_AT_HOME = ["checkpoints/*", "data/*", ".*"]  # data: of `mvfer adapt`, faces
REMEDIES = {
    401: "log in with: hf auth login, or set HF_TOKEN",
    403: "this token may not write there: take one that may, or another --repo_id",
    409: "somebody else changed the repository meanwhile: push again",
}


def is_private(folder: str | Path) -> bool:
    """Whether a run was trained with differential privacy, as its results say."""
    path = Path(folder) / "results.json"
    return path.is_file() and "privacy" in json.loads(path.read_text(encoding="utf-8")).get("training", {})


def push_run(folder: str | Path, repo_id: str, *, private: bool = True, token: str | None = None) -> str:
    """Upload a run's folder to the Hub, without its checkpoints; of whole paths in its recipe, the last part alone.

    A run with differential privacy keeps to itself whom it has learnt from: the list of hashes stays at home.

    Args:
        folder: what `save_run` wrote.
        repo_id (`str`): "user/name"; made if it does not exist.
        private (`bool`, defaults to `True`): of a new repository.
    Returns:
        `str`: the address of the commit.
    Raises:
        ValueError: if the folder holds no model, or no card.
        OSError: if the Hub cannot be reached or refuses; the run's folder is as it was, and another try goes on.
    """
    folder = Path(folder)
    for name in ("config.json", "README.md"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder}: no {name} there; expected a folder written by save_run")
    api = HfApi(token=token)
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        if (folder / RECIPE).is_file():
            recipe = json.dumps(_without_folders(json.loads((folder / RECIPE).read_text(encoding="utf-8"))), indent=2)
            api.upload_file(
                repo_id=repo_id, path_or_fileobj=recipe.encode(), path_in_repo=RECIPE, commit_message="Upload recipe"
            )
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            allow_patterns=PUBLISHED,
            ignore_patterns=[*KEPT_AT_HOME, RECIPE, *([SEEN_FILE] if is_private(folder) else [])],
            commit_message="Upload model",
        )
    except HfHubHTTPError as error:
        raise refused(repo_id, error) from error
    except HTTPError as error:  # of the transport
        raise OSError(
            f"{api.endpoint}: the Hub cannot be reached ({error}); check the network and push again"
        ) from error
    return commit.commit_url


def _without_folders(setting):
    """A recipe with the last parts of its whole paths."""
    if isinstance(setting, dict):
        return {name: _without_folders(value) for name, value in setting.items()}
    if isinstance(setting, list):
        return [_without_folders(value) for value in setting]
    return without_folders(setting) if isinstance(setting, str) else setting


def refused(repo_id: str, error: HfHubHTTPError) -> OSError:
    """An answer of the Hub in one line: what it refused, why, and what helps."""
    reason = error.server_message or str(error).partition("\n")[0]
    remedy = REMEDIES.get(error.response.status_code, "see the Hub's message")
    return OSError(f"{repo_id}: the Hub refuses with {error.response.status_code} ({reason.strip()}); {remedy}")
