"""A cell's files as bytes, there and back, for clusters whose nodes do not see the worker's folder."""

from __future__ import annotations

import io
import json
import shutil
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

from fairgrid.errors import HostFailure
from fairgrid.runtime.engines.cell_files import read_job, read_trial

__all__ = ["pack_answer", "pack_cell", "unpack_answer", "unpack_cell"]

_JOB: Final = "job.json"
_CONTAINERS: Final = "containers.json"
_ANSWERS: Final = ("outcome.json", "place.json", "tried.json")
_NOWHERE: Final = "nowhere"
_PER_FILE: Final = 1024
"""What a file takes beside its bytes."""


def pack_cell(folder: Path, *, max_bytes: int) -> bytes:
    """Everything that the cell needs on a node.

    Raises:
        HostFailure: it is more than ``max_bytes``.
    """
    if read_trial(folder) is not None:
        return _packed(
            [(f"cell/{name}", folder / name) for name in ("trial.json", _CONTAINERS)], max_bytes, "its trial"
        )
    _, job = read_job(folder)
    files = [(f"cell/{_JOB}", folder / _JOB), (f"app/{job.script.name}", job.script), ("in", job.input_folder)]
    if (folder / _CONTAINERS).exists():
        files.append((f"cell/{_CONTAINERS}", folder / _CONTAINERS))
    if job.checkpoint_folder is not None:
        files.append(("checkpoint", job.checkpoint_folder))
    return _packed(files, max_bytes, "its script, inputs and checkpoint")


def unpack_cell(parcel: bytes, root: Path) -> Path:
    """Lay a cell down below ``root``, on the node; its folder."""
    _unpack(parcel, root)
    cell = root / "cell"
    if (cell / _JOB).exists():
        wire: dict[str, Any] = json.loads((cell / _JOB).read_bytes())
        wire["script"] = str(root / "app" / Path(wire["script"]).name)
        wire["input_folder"] = str(root / "in")
        wire["output_folder"] = str(root / "out")
        wire["checkpoint_folder"] = str(root / "checkpoint") if wire["checkpoint_folder"] else ""
        wire["watch_folder"] = ""
        (cell / _JOB).write_text(json.dumps(wire))
        for name in ("in", "out", "checkpoint"):
            (root / name).mkdir(exist_ok=True)
    return cell


def pack_answer(root: Path, *, max_bytes: int) -> bytes:
    """What a cell left on the node.

    Raises:
        HostFailure: it is more than ``max_bytes``.
    """
    files = [(name, root / "cell" / name) for name in _ANSWERS if (root / "cell" / name).exists()]
    files += [(name, root / name) for name in ("out", "checkpoint") if (root / name).exists()]
    return _packed(files, max_bytes, "its output and checkpoint")


def unpack_answer(parcel: bytes, folder: Path) -> None:
    """Lay down at home what a cell left: its answers in its folder, outputs and checkpoint where the job names them."""
    arrived = folder / "arrived"
    _unpack(parcel, arrived)
    if (arrived / "out").exists():
        _, job = read_job(folder)
        _move_into(arrived / "out", job.output_folder)
        if job.checkpoint_folder is not None and (arrived / "checkpoint").exists():
            _move_into(arrived / "checkpoint", job.checkpoint_folder)
    for name in _ANSWERS:
        if (arrived / name).exists():
            (arrived / name).rename(folder / name)


def _move_into(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        entry.rename(target / entry.name)


def _packed(files: list[tuple[str, Path]], max_bytes: int, what: str) -> bytes:
    entries = [entry for name, path in files for entry in _walk(name, path)]
    size = sum(_PER_FILE + (path.lstat().st_size if stat.S_ISREG(path.lstat().st_mode) else 0) for _, path in entries)
    if size > max_bytes:
        raise HostFailure(
            f"The cell cannot travel: {what} take {size} bytes, and max_carried_bytes is {max_bytes}. Raise it, or let "
            f"the nodes see the worker's folder (shared_folder = true)."
        )
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, path in entries:
            _add(tar, name, path)
    return buffer.getvalue()


def _walk(name: str, path: Path) -> Iterator[tuple[str, Path]]:
    yield name, path
    if path.is_dir() and not path.is_symlink():
        for entry in sorted(path.iterdir()):
            yield from _walk(f"{name}/{entry.name}", entry)


def _add(tar: tarfile.TarFile, name: str, path: Path) -> None:
    info = tarfile.TarInfo(name)
    mode = path.lstat().st_mode
    info.mode = stat.S_IMODE(mode) & 0o755 | 0o600
    if stat.S_ISDIR(mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(info)
    elif stat.S_ISREG(mode):
        info.size = path.lstat().st_size
        with path.open("rb") as file:
            tar.addfile(info, file)
    else:
        # Links and devices may not be in a result: one that leads nowhere says as much as the real one.
        info.type, info.linkname = tarfile.SYMTYPE, _NOWHERE
        tar.addfile(info)


def _unpack(parcel: bytes, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(fileobj=io.BytesIO(parcel), mode="r") as tar:
            for member in tar:
                _lay_down(tar, member, target)
    except (tarfile.TarError, OSError, ValueError) as error:
        raise HostFailure(f"A parcel of a cell cannot be unpacked: {error}.") from error


def _lay_down(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """One entry of `_add`, and nothing that `_add` cannot have made."""
    parts = PurePosixPath(member.name).parts
    if not parts or ".." in parts or member.name.startswith("/") or "\0" in member.name:
        raise ValueError(f"it holds the name {member.name!r}")
    place = target.joinpath(*parts)
    if member.isdir():
        place.mkdir(parents=True, exist_ok=True)
    elif member.isreg():
        content = tar.extractfile(member)
        assert content is not None
        place.parent.mkdir(parents=True, exist_ok=True)
        with content, place.open("xb") as file:
            shutil.copyfileobj(content, file)
        place.chmod(member.mode & 0o755 | 0o600)
    elif member.issym() and member.linkname == _NOWHERE:
        place.symlink_to(_NOWHERE)
    else:
        raise ValueError(f"{member.name!r} is neither file nor folder")
