"""Images on this machine: checked once, unpacked once, kept by their digest while there is room."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from fairgrid.errors import HostFailure
from fairgrid.runtime.cgroups.files import number_of
from fairgrid.runtime.container.engines import Engine
from fairgrid.runtime.container.image_check import (
    DEFAULT_IMAGE_LIMITS,
    Image,
    ImageLimits,
    check_image,
    read_head,
)
from fairgrid.runtime.container.image_files import ArchiveFiles, CopiedFiles, ImageFiles
from fairgrid.runtime.container.image_reference import MAX_REFERENCE_BYTES, ImageReference, parse_reference
from fairgrid.runtime.container.registry import check_registry, copy_from_registry
from fairgrid.runtime.container.runtimes import REFERENCE_SUFFIX
from fairgrid.runtime.container.settings import ContainerSettings
from fairgrid.runtime.uninterrupted import to_the_end

__all__ = ["ImageStore", "ReadyImage"]

_log = structlog.get_logger(__name__)
_LOAD_S: Final = 900.0
_TAG: Final = "localhost/fairgrid/image"
_IMAGE_ID: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NOT_THERE: Final = (b"no such image", b"not known")


@dataclass(frozen=True, slots=True)
class ReadyImage:
    """An image that the engine has, and how a job of it is called."""

    image_id: str
    volumes: tuple[str, ...]
    entrypoint: tuple[str, ...] = ()
    """In place of the image's own; empty: that."""


class ImageStore:
    """The images of one engine that this level put there; other images of docker's are never touched."""

    def __init__(
        self,
        engine: Engine,
        settings: ContainerSettings,
        architecture: str,
        *,
        limits: ImageLimits = DEFAULT_IMAGE_LIMITS,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._architecture = architecture
        self._limits = limits
        self._kept = engine.folder / f"images-{engine.kind}"
        self._references = engine.folder / "references"
        self._present: set[str] = set()
        self._in_use: Counter[str] = Counter()
        self._is_tidy = False
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def held(self, program: Path) -> AsyncIterator[ReadyImage]:
        """Have the program's image in the engine while the block runs.

        Raises:
            ManifestError: the program is no image, or one that is refused.
            HostFailure: this machine cannot get or keep it.
        """
        async with self._lock:
            if not self._is_tidy:
                await self._remove_strays()
                await self._make_room()
                self._is_tidy = True
            of = self._of_reference if program.name.endswith(REFERENCE_SUFFIX) else self._of_archive
            image = await of(program)
            self._in_use[image.image_id] += 1
        try:
            yield image
        finally:
            self._in_use[image.image_id] -= 1

    def forget(self, image_id: str) -> None:
        """The engine said that it has it not."""
        self._present.discard(image_id)

    async def _of_archive(self, program: Path) -> ReadyImage:
        head = await asyncio.to_thread(self._head_of, program)
        if not await self._is_present(head.image_id):
            with ArchiveFiles.opened(program) as files:
                await self._bring(files)
        return ReadyImage(head.image_id, head.volumes)

    async def _of_reference(self, program: Path) -> ReadyImage:
        with program.open("rb") as file:
            reference = parse_reference(file.read(MAX_REFERENCE_BYTES + 1))
        check_registry(reference, self._settings)
        known = self._references / f"{reference.digest.removeprefix('sha256:')}-{self._architecture}.json"
        with contextlib.suppress(OSError, ValueError, KeyError):
            wire = json.loads(known.read_text())
            image_id, volumes = str(wire["image"]), tuple(str(path) for path in wire["volumes"])
            if await self._is_present(image_id):
                return ReadyImage(image_id, volumes, reference.entrypoint)
        async with self._copied(reference) as files:
            image = await self._bring(files)
        self._references.mkdir(exist_ok=True)
        _write(known, json.dumps({"image": image.image_id, "volumes": list(image.volumes)}).encode())
        return ReadyImage(image.image_id, image.volumes, reference.entrypoint)

    @asynccontextmanager
    async def _copied(self, reference: ImageReference) -> AsyncIterator[ImageFiles]:
        folder = Path(tempfile.mkdtemp(prefix="pull-", dir=self._engine.folder))
        try:
            digest = await copy_from_registry(
                reference,
                folder / "image",
                settings=self._settings,
                architecture=self._architecture,
                max_bytes=self._limits.packed_bytes,
            )
            yield CopiedFiles(folder / "image", digest)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _head_of(self, program: Path) -> Image:
        with ArchiveFiles.opened(program) as files:
            return read_head(files, architecture=self._architecture, limits=self._limits)

    async def _is_present(self, image_id: str) -> bool:
        mark = self._kept / image_id
        if image_id not in self._present:
            said = await self._engine.call("image", "inspect", "--format", "{{.Id}}", image_id)
            if said.status != 0 or said.stdout.decode().strip().removeprefix("sha256:") != image_id:
                return False
            if not mark.exists():
                # Not checked by this level: docker may have it from somewhere else, by the same digest of content.
                return False
            self._present.add(image_id)
        with contextlib.suppress(OSError):
            os.utime(mark)
        return True

    async def _bring(self, files: ImageFiles) -> Image:
        image = await asyncio.to_thread(check_image, files, architecture=self._architecture, limits=self._limits)
        handle, name = tempfile.mkstemp(prefix="load-", suffix=".tar", dir=self._engine.folder)
        os.close(handle)
        # Marked first: what the engine holds without a mark is a stray, which nobody would ever remove for room.
        self._kept.mkdir(exist_ok=True)
        _write(self._kept / image.image_id, str(image.unpacked_bytes).encode())
        try:
            # A thread goes on when its caller is cancelled, and would make the file again.
            await to_the_end(asyncio.to_thread(_write_load_archive, Path(name), files, image))
            said = await self._engine.call("load", "--input", name, within_s=_LOAD_S)
        except OSError as error:
            raise HostFailure(f"The image cannot be unpacked here: {error}. Make room and try again.") from error
        finally:
            Path(name).unlink(missing_ok=True)
        if said.status != 0:
            raise HostFailure(f"{self._engine.kind} did not take the image: {said.text}")
        if not await self._is_present(image.image_id):
            raise HostFailure(f"{self._engine.kind} took the image and does not know it as {image.image_id}.")
        await self._make_room(image.image_id)
        _log.debug("an image was unpacked", image=image.digest, bytes=image.unpacked_bytes)
        return image

    async def _make_room(self, but: str = "") -> None:
        """Remove the images that were not used for longest until the rest fits; what a job uses stays."""
        marks = self._marks()
        sizes = {mark.name: number_of(mark) for mark in marks}
        for mark in sorted(marks, key=lambda mark: mark.stat().st_mtime):
            if sum(sizes.values()) <= self._settings.cache_bytes:
                return
            if mark.name == but or self._in_use[mark.name] > 0:
                continue
            # Without force: the engine refuses it for an image that another worker's container uses.
            said = await self._engine.call("rmi", _tag(mark.name))
            text = said.stderr.lower()
            if said.status == 0 or any(words in text for words in _NOT_THERE):
                self._present.discard(mark.name)
                mark.unlink(missing_ok=True)
                _log.info("an image was removed to make room", image=mark.name, bytes=sizes.pop(mark.name))

    async def _remove_strays(self) -> None:
        """Remove images of ours without a mark: a worker was killed while it loaded or removed one."""
        said = await self._engine.call("images", "--format", "{{.Repository}}:{{.Tag}}")
        known = {_tag(mark.name) for mark in self._marks()}
        for tag in said.stdout.decode().split():
            if tag.startswith(f"{_TAG}:") and tag not in known:
                await self._engine.call("rmi", tag)

    def _marks(self) -> list[Path]:
        with contextlib.suppress(FileNotFoundError):
            return [path for path in self._kept.iterdir() if _IMAGE_ID.fullmatch(path.name)]
        return []


def _tag(image_id: str) -> str:
    return f"{_TAG}:{image_id[:32]}"


def _write_load_archive(target: Path, files: ImageFiles, image: Image) -> None:
    """The one form that podman and every docker take; the configuration, hence the image's id, stays as it is."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, f"{image.image_id}.json", image.config)
        names = []
        for number, layer in enumerate(image.layers):
            names.append(f"{number}.tar")
            with files.open_blob(layer.digest) as blob:
                member = tarfile.TarInfo(names[-1])
                member.size = layer.size
                tar.addfile(member, blob)
        listed = [{"Config": f"{image.image_id}.json", "RepoTags": [_tag(image.image_id)], "Layers": names}]
        _add(tar, "manifest.json", json.dumps(listed).encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _write(path: Path, data: bytes) -> None:
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    new.write_bytes(data)
    new.replace(path)
