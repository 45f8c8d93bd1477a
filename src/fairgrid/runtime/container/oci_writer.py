"""Writes an OCI archive from files, the same bytes on every machine and day: no clock, no owner, no order of a disk."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import rfc8785

from fairgrid.errors import UsageError
from fairgrid.runtime.container.image_check import Image
from fairgrid.runtime.container.image_files import ImageFiles

__all__ = ["ImageFile", "RunConfig", "WrittenImage", "files_of_folder", "repack", "write_archive"]

_READ_BYTES: Final = 1 << 20
_EPOCH: Final = "1970-01-01T00:00:00Z"
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
# Not packed: what a packer makes of the same bytes differs from version to version.
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file, folder or link of an image. ``source`` is a path, or the content itself; None is a folder."""

    path: str
    """Without a leading slash."""
    source: Path | bytes | None
    executable: bool = False
    link: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What an image says of how it is run."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    """``NAME=value`` each."""
    folder: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    def to_wire(self) -> dict[str, Any]:
        """The JSON object."""
        wire: dict[str, Any] = {
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.command),
            "Env": list(self.environment),
            "WorkingDir": self.folder,
            "Labels": dict(self.labels),
        }
        return {name: value for name, value in wire.items() if value}


@dataclass(frozen=True, slots=True)
class WrittenImage:
    """An archive that was written."""

    digest: str
    config_digest: str
    size: int


def files_of_folder(folder: Path, at: str = "") -> list[ImageFile]:
    """Everything below ``folder``, to lie below ``at`` in an image.

    Raises:
        UsageError: it holds a device, a socket or a pipe.
    """
    found: list[ImageFile] = []
    for entry in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).as_posix().encode()):
        path = "/".join(part for part in (at, entry.relative_to(folder).as_posix()) if part)
        mode = entry.lstat().st_mode
        if stat.S_ISLNK(mode):
            found.append(ImageFile(path, None, link=os.readlink(entry)))
        elif stat.S_ISDIR(mode):
            found.append(ImageFile(path, None))
        elif stat.S_ISREG(mode):
            found.append(ImageFile(path, entry, executable=bool(mode & 0o111)))
        else:
            raise UsageError(f"{entry} is neither a file, a folder nor a link; an image cannot hold it. Remove it.")
    return found


def write_archive(target: Path, files: Iterable[ImageFile], config: RunConfig, *, architecture: str) -> WrittenImage:
    """Write an image of one layer; a file named twice is the last one."""
    by_path = {file.path: file for file in files}
    for path in list(by_path):
        for parent in Path(path).parents:
            if parent.as_posix() != ".":
                by_path.setdefault(parent.as_posix(), ImageFile(parent.as_posix(), None))
    layer = target.with_name(target.name + ".layer")
    try:
        with layer.open("w+b") as file:
            _write_layer(file, [by_path[path] for path in sorted(by_path, key=str.encode)])
            part = _LayerFile(file, file.tell(), _digest_of_file(file))
            return _write(target, [part], _config_of(part.digest, config, architecture), architecture)
    finally:
        layer.unlink(missing_ok=True)


def repack(target: Path, files: ImageFiles, image: Image) -> WrittenImage:
    """Write an image of somebody else's making anew, with its configuration as it is and its layers unpacked."""
    with ExitStack() as stack:
        layers = []
        for layer in image.layers:
            blob = stack.enter_context(files.open_blob(layer.digest))
            plain = stack.enter_context(tempfile.TemporaryFile(dir=target.parent))
            shutil.copyfileobj(gzip.GzipFile(fileobj=blob) if layer.gzipped else blob, plain)
            layers.append(_LayerFile(plain, plain.tell(), layer.diff_id))
        return _write(target, layers, image.config, image.architecture)


@dataclass(frozen=True, slots=True)
class _LayerFile:
    file: IO[bytes]
    size: int
    digest: str


def _config_of(layer_digest: str, config: RunConfig, architecture: str) -> bytes:
    document: Any = {
        "architecture": architecture,
        "config": config.to_wire(),
        "created": _EPOCH,
        "history": [{"created": _EPOCH, "created_by": "fairgrid app build"}],
        "os": "linux",
        "rootfs": {"diff_ids": [layer_digest], "type": "layers"},
    }
    return rfc8785.dumps(document)


def _write(target: Path, layers: list[_LayerFile], config: bytes, architecture: str) -> WrittenImage:
    manifest = rfc8785.dumps(
        {
            "config": {"digest": _digest_of(config), "mediaType": _CONFIG, "size": len(config)},
            "layers": [{"digest": layer.digest, "mediaType": _LAYER, "size": layer.size} for layer in layers],
            "mediaType": _MANIFEST,
            "schemaVersion": 2,
        }
    )
    digest = _digest_of(manifest)
    index = rfc8785.dumps(
        {
            "manifests": [
                {
                    "digest": digest,
                    "mediaType": _MANIFEST,
                    "platform": {"architecture": architecture, "os": "linux"},
                    "size": len(manifest),
                }
            ],
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "schemaVersion": 2,
        }
    )
    new = target.with_name(target.name + ".new")
    with tarfile.open(new, "w", format=tarfile.PAX_FORMAT) as tar:
        # The small parts first: they are found without reading past a layer.
        _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(tar, "index.json", index)
        _add(tar, _blob(digest), manifest)
        _add(tar, _blob(_digest_of(config)), config)
        for layer in {layer.digest: layer for layer in layers}.values():
            layer.file.seek(0)
            tar.addfile(_member(_blob(layer.digest), layer.size), layer.file)
    new.replace(target)
    return WrittenImage(digest, _digest_of(config), target.stat().st_size)


def _write_layer(layer: IO[bytes], files: list[ImageFile]) -> None:
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for file in files:
            member = _member(file.path, 0)
            if file.link is not None:
                member.type, member.linkname, member.mode = tarfile.SYMTYPE, file.link, 0o777
                tar.addfile(member)
            elif file.source is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o1777 if file.path == "tmp" else 0o755
                tar.addfile(member)
            else:
                member.mode = 0o755 if file.executable else 0o644
                _add_content(tar, member, file.source)


def _add_content(tar: tarfile.TarFile, member: tarfile.TarInfo, source: Path | bytes) -> None:
    if isinstance(source, bytes):
        member.size = len(source)
        tar.addfile(member, io.BytesIO(source))
        return
    with source.open("rb") as file:
        member.size = os.fstat(file.fileno()).st_size
        tar.addfile(member, file)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    tar.addfile(_member(name, len(data)), io.BytesIO(data))


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o644, 0
    return member


def _blob(digest: str) -> str:
    return "blobs/sha256/" + digest.removeprefix("sha256:")


def _digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _digest_of_file(file: IO[bytes]) -> str:
    file.seek(0)
    state = hashlib.sha256()
    while data := file.read(_READ_BYTES):
        state.update(data)
    return "sha256:" + state.hexdigest()
