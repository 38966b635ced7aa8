"""How does a built data set reach the Hub? Its configs are checked file by file, then all goes up in one commit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.build_folder import WORK
from ..data.contamination import refuse_flagged
from ..errors import DataFolderError, HubError, MissingExtraError
from .push import Pushed, _hub_errors

BESIDE = ("build.json", "statistics.json", "experiment_config.json", "LICENSE", "sheets/*.png")
"""What goes along with card and tables when it is there; nothing else of the folder is sent."""
REBUILD = "Remedy: build it again with `riverone data build ... --out DIR`"


def push_dataset(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
    commit_message: str = "Upload data set",
) -> Pushed:
    """Publish the data set in `folder` to `repo_id` ("name" or "owner/name"), on branch `revision` (default main).

    The folder is checked first (`publishable_tables`) and never changed; tables of an earlier push that are not in it
    are deleted in the same commit. The same folder again makes no commit. Token as in `push_model`.

    Raises DataFolderError for a folder that others could not load, ContaminationError for one with rows flagged by
    `riverone data decontaminate`, HubError for everything the Hub or the network refuses.
    """
    root = Path(folder)
    tables = publishable_tables(root)
    refuse_flagged(root)
    beside = [path.relative_to(root).as_posix() for pattern in BESIDE for path in sorted(root.glob(pattern))]
    names = ["README.md", *tables, *beside]

    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with _hub_errors(api, repo_id):
        owner = api.whoami()["name"]
        full_id = repo_id if "/" in repo_id else f"{owner}/{repo_id}"
        api.create_repo(full_id, repo_type="dataset", private=private, exist_ok=True)
        if revision not in (None, "main"):
            api.create_branch(full_id, repo_type="dataset", branch=str(revision), exist_ok=True)
        before = api.dataset_info(full_id, revision=revision)
        if private and not before.private:
            raise HubError(
                f"{full_id} exists and is public, so --private cannot hold. "
                "Remedy: make it private in its settings on the Hub, or choose another name."
            )
        commit = api.upload_folder(
            repo_id=full_id,
            repo_type="dataset",
            folder_path=root,
            revision=revision,
            commit_message=commit_message,
            allow_patterns=names,
            delete_patterns=["*.parquet", "sheets/*.png"],
        )
        changed = commit.oid != before.sha
        return Pushed(full_id, commit.oid, f"{api.endpoint}/datasets/{full_id}", tuple(names), changed)


def publishable_tables(folder: Path) -> tuple[str, ...]:
    """Relative names of the parquet files that make up the configs of the folder's card, all checked.

    Raises DataFolderError when the build is not finished, the card lacks licence or configs, a config has no files, a
    file is broken, empty, unlike the others of its config, or without its images, or a table belongs to no config.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise MissingExtraError("pyarrow", "train") from None
    if not folder.is_dir():
        raise DataFolderError(f"no folder {folder}. Remedy: give the folder that `riverone data build --out` wrote")
    if (folder / WORK).exists():
        raise DataFolderError(f"{folder}: its build is not finished. Remedy: run the same `riverone data build` again")
    found: dict[str, None] = {}
    for config, patterns in _configs(folder):
        names: list[str] = []
        for pattern in patterns:
            matched = sorted(path.relative_to(folder).as_posix() for path in folder.glob(pattern) if path.is_file())
            if not matched:
                raise DataFolderError(f"{folder}: config {config} names {pattern}, but no file matches. {REBUILD}")
            names += matched
        _check_alike(folder, config, names)
        found |= dict.fromkeys(names)
    tables = (path for path in folder.rglob("*.parquet") if not path.is_symlink())
    stray = sorted({path.relative_to(folder).as_posix() for path in tables} - found.keys())
    if stray:
        raise DataFolderError(
            f"{folder}: {len(stray)} tables belong to no config of the card ({stray[0]} first), so nobody would load "
            "them. Remedy: move them away, or name them in README.md"
        )
    return tuple(found)


def _configs(folder: Path) -> list[tuple[str, list[str]]]:
    """(config, patterns of its files) as the card of the folder says."""
    from huggingface_hub import DatasetCard

    card = folder / "README.md"
    if not card.is_file():
        raise DataFolderError(f"{folder} has no README.md, so it is no finished data set. {REBUILD}")
    try:
        data = DatasetCard(card.read_text(encoding="utf-8"), ignore_metadata_errors=False).data.to_dict()
    except Exception as error:
        why = " ".join(str(error).split())[:160]
        raise DataFolderError(f"{card}: its metadata block is not valid ({why}). Remedy: mend it") from None
    if not data.get("license"):
        raise DataFolderError(f"{card}: its metadata block names no license. Remedy: add it")
    try:
        found = [(str(item["config_name"]), _patterns(item["data_files"])) for item in data["configs"]]
        safe = all(not name.startswith("/") and ".." not in name for _, names in found for name in names)
    except (KeyError, TypeError):
        found, safe = [], True
    if not found or not safe or not all(names for _, names in found):
        raise DataFolderError(
            f"{card}: its metadata block has no usable configs. Expected config_name and data_files (split, path below "
            f"the folder) of each. {REBUILD}"
        )
    return found


def _patterns(data_files: Any) -> list[str]:
    if isinstance(data_files, str):
        return [data_files]
    paths = [item if isinstance(item, str) else item["path"] for item in data_files]
    return [str(name) for path in paths for name in ([path] if isinstance(path, str) else path)]


def _check_alike(folder: Path, config: str, names: Sequence[str]) -> None:
    """All files of one config are readable, hold rows and have the same columns; the first images are embedded."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    first: Any = None
    for name in names:
        if not name.endswith(".parquet"):
            raise DataFolderError(f"{folder / name}: config {config} names it. Expected parquet files only")
        try:
            with pq.ParquetFile(folder / name) as file:
                schema = file.schema_arrow.remove_metadata()
                batch = next(file.iter_batches(8), None)
        except (OSError, pa.ArrowException) as error:
            why = " ".join(str(error).split())[:160]
            raise DataFolderError(f"{folder / name}: not a readable parquet file ({why}). {REBUILD}") from None
        if batch is None or not batch.num_rows:
            raise DataFolderError(f"{folder / name}: has no rows, and datasets cannot read such a file. {REBUILD}")
        first = first or (name, schema)
        if schema != first[1]:
            raise DataFolderError(f"{folder / name}: its columns differ from those of {first[0]}. {REBUILD}")
        for row in batch.to_pylist():
            images = row.get("images") or []
            if any(isinstance(image, dict) and not image.get("bytes") for image in images):
                raise DataFolderError(
                    f"{folder / name}: its images are paths without bytes, which nobody else could open. "
                    "Remedy: write them with Dataset.push_to_hub, or build the folder again"
                )
