"""Put a data set on the Hub: `python -m dataset_scripts.push DIR --repo_id NAME`.

In: a complete build. Out: a data set repository with its card. A set whose licence forbids passing renderings on is refused,
unless the repository is private and the user states that the licence allows that much.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HTTPError

from mvfer.data.schema import INFO_FILE, REJECTED_FILE, dataset_info, find_shards
from mvfer.hub.push import refused
from processing.names_mvfer import shown


def push(folder: str | Path, repo_id: str, *, private: bool = False, licence_allows: bool = False, api=None) -> str:
    """Upload shards, card, info and rejected list; nothing else that lies in the folder.

    Args:
        private: make the repository private. An existing public one is refused for sets that may not be shared.
        licence_allows: the user's word that the licence allows a private copy.
    Returns:
        `str`: the repository's address.
    Raises:
        ValueError: if the build is not complete, or the set may not be shared.
    """
    info, api = dataset_info(folder), api or HfApi()
    find_shards(folder)
    restricted = not info.get("may_share", False)
    if restricted and not (private and licence_allows):
        raise ValueError(
            f"{folder}: {info.get('sharing', 'its licence is unknown')} If your licence allows a private copy, say so with "
            "--private --my_licence_allows_this"
        )
    url = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
    if restricted and not api.repo_info(repo_id, repo_type="dataset").private:
        raise ValueError(f"{repo_id} exists and is public; {info['sharing']} Choose another repository")
    files = ["README.md", INFO_FILE, REJECTED_FILE, "*.parquet"]
    api.upload_folder(repo_id=repo_id, repo_type="dataset", folder_path=folder, allow_patterns=files)
    return str(url)


def main(argv: Sequence[str] | None = None) -> int:
    flags = argparse.ArgumentParser(description="Put a data set on the Hub.")
    flags.add_argument("folder", help="a complete build")
    flags.add_argument("--repo_id", required=True, help="owner/name")
    flags.add_argument("--private", action="store_true", help="make the repository private")
    flags.add_argument(
        "--my_licence_allows_this",
        action="store_true",
        help="you have read the licence of a set that may not be shared, and it allows a private copy",
    )
    args = flags.parse_args(argv)
    try:
        print(push(args.folder, args.repo_id, private=args.private, licence_allows=args.my_licence_allows_this))
    except HfHubHTTPError as error:
        print(f"error: {refused(args.repo_id, error)}", file=sys.stderr)
        return 1
    except (ValueError, OSError, HTTPError) as error:
        print(f"error: {shown(str(error))}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
