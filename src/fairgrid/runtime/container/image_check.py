"""Reads an image whole and checks it before an engine sees it: digests, sizes, and what its layers would unpack.

Layers are unpacked by engines that run as root, so nothing is handed to them that is larger than the limits, or that
holds a device, an absolute path or a way out of the image.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Final

from fairgrid.runtime.container.image_files import MAX_JSON_BYTES, ImageFiles, broken, json_object

__all__ = ["DEFAULT_IMAGE_LIMITS", "Image", "ImageLimits", "Layer", "check_image", "read_head"]

_READ_BYTES: Final = 1 << 20
_PLAIN: Final = ("application/vnd.oci.image.layer.v1.tar",)
_GZIPPED: Final = (
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
)
_MAX_WORDS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """What an image may be at most."""

    packed_bytes: int = 8 << 30
    unpacked_bytes: int = 16 << 30
    """Of all layers together, and of the files that they say they hold."""
    files: int = 500_000
    layers: int = 127


DEFAULT_IMAGE_LIMITS: Final = ImageLimits()


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer. ``diff_id`` is the digest of its tar, ``digest`` that of the tar as it is packed."""

    digest: str
    diff_id: str
    size: int
    gzipped: bool


@dataclass(frozen=True, slots=True)
class Image:
    """What is known of an image before it runs."""

    digest: str
    """Of its manifest."""
    config_digest: str
    """Of its configuration, which commits to every layer: engines call it the image's id."""
    architecture: str
    config: bytes
    layers: tuple[Layer, ...]
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    volumes: tuple[str, ...]
    unpacked_bytes: int = 0
    """Measured by `check_image`; 0 after `read_head`."""

    @property
    def image_id(self) -> str:
        """The id without its algorithm."""
        return self.config_digest.removeprefix("sha256:")


def read_head(files: ImageFiles, *, architecture: str, limits: ImageLimits = DEFAULT_IMAGE_LIMITS) -> Image:
    """Manifest and configuration, verified; layers are only listed.

    Raises:
        ManifestError: a digest is wrong, the image is for another machine, or it breaks a limit.
    """
    digest, data = files.manifest()
    if _digest_of(data) != digest:
        raise broken(f"its manifest is {_digest_of(data)} and should be {digest}")
    manifest = json_object(data, "manifest")
    config_digest = _text(manifest.get("config"), "digest")
    with files.open_blob(config_digest) as file:
        config = file.read(MAX_JSON_BYTES + 1)
    document = json_object(config, "configuration")
    if _digest_of(config) != config_digest:
        raise broken(f"its configuration is {_digest_of(config)} and should be {config_digest}")
    system, built_for = document.get("os"), document.get("architecture")
    if (system, built_for) != ("linux", architecture):
        raise broken(
            f"it is for {system}/{built_for} and the runtime for linux/{architecture}; "
            f"build it for that, or name the runtime of the other machines"
        )
    run = document.get("config") or {}
    if not isinstance(run, dict):
        raise broken("its configuration says in no known way what to run")
    volumes = run.get("Volumes") or {}
    return Image(
        digest=digest,
        config_digest=config_digest,
        architecture=architecture,
        config=config,
        layers=_layers(manifest, document, limits),
        entrypoint=_words(run.get("Entrypoint"), "Entrypoint"),
        command=_words(run.get("Cmd"), "Cmd"),
        volumes=tuple(_volume(path) for path in volumes) if isinstance(volumes, dict) else (),
    )


def check_image(files: ImageFiles, *, architecture: str, limits: ImageLimits = DEFAULT_IMAGE_LIMITS) -> Image:
    """Read every byte of an image.

    Raises:
        ManifestError: a digest is wrong, the image is for another machine, it breaks a limit, or a layer holds what
            an image has no need of.
    """
    image = read_head(files, architecture=architecture, limits=limits)
    used = _Used(limits)
    for layer in image.layers:
        _check_layer(files, layer, used)
    return Image(
        **{name: getattr(image, name) for name in Image.__slots__ if name != "unpacked_bytes"},
        unpacked_bytes=used.unpacked,
    )


class _Used:
    """What the layers read so far would take."""

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self.unpacked = 0
        self._held = 0
        self._files = 0

    def read(self, size: int) -> None:
        self.unpacked += size
        if self.unpacked > self._limits.unpacked_bytes:
            raise broken(f"its layers unpack to more than {self._limits.unpacked_bytes} bytes")

    def file(self, size: int) -> None:
        self._files += 1
        self._held += size
        if self._files > self._limits.files:
            raise broken(f"it holds more than {self._limits.files} files")
        if self._held > self._limits.unpacked_bytes:
            raise broken(f"its files are larger than {self._limits.unpacked_bytes} bytes together")


def _check_layer(files: ImageFiles, layer: Layer, used: _Used) -> None:
    with files.open_blob(layer.digest) as raw:
        packed = _Hashed(raw, lambda size: None, at_most=layer.size)
        stream: IO[bytes] = gzip.GzipFile(fileobj=packed) if layer.gzipped else packed  # type: ignore[assignment]
        unpacked = _Hashed(stream, used.read)
        try:
            _check_members(unpacked, used)
            while unpacked.read(_READ_BYTES):
                pass
            while packed.read(_READ_BYTES):
                pass
        except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile, ValueError, OverflowError) as error:
            raise broken(f"its layer {layer.digest} is damaged ({error})") from None
    if packed.digest != layer.digest:
        raise broken(f"its layer is {packed.digest} and should be {layer.digest}")
    if unpacked.digest != layer.diff_id:
        raise broken(f"its layer {layer.digest} unpacks to {unpacked.digest} and should to {layer.diff_id}")


def _check_members(stream: _Hashed, used: _Used) -> None:
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            used.file(member.size)
            parts = member.name.split("/")
            if member.name.startswith("/") or ".." in parts:
                raise broken(f"a layer holds the path {member.name[:200]!r}, which leads out of the image")
            if member.islnk() and (member.linkname.startswith("/") or ".." in member.linkname.split("/")):
                raise broken(f"a layer links {member.name[:200]!r} to a place out of the image")
            # Overlay storages mark removed files with such devices, but layers never do.
            if member.ischr() or member.isblk():
                raise broken(f"a layer holds the device file {member.name[:200]!r}")


class _Hashed(io.RawIOBase):
    """Hashes and counts what is read through it."""

    def __init__(self, source: IO[bytes], count: Callable[[int], None], *, at_most: int | None = None) -> None:
        self._source = source
        self._count = count
        self._left = at_most
        self._state = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(_READ_BYTES if size is None or size < 0 else min(size, _READ_BYTES))
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise broken("a layer is larger than its manifest says")
        self._count(len(data))
        self._state.update(data)
        return data

    @property
    def digest(self) -> str:
        return "sha256:" + self._state.hexdigest()


def _layers(manifest: dict[str, Any], config: dict[str, Any], limits: ImageLimits) -> tuple[Layer, ...]:
    wires = manifest.get("layers")
    root = config.get("rootfs")
    diff_ids = root.get("diff_ids") if isinstance(root, dict) else None
    if not isinstance(wires, list) or not isinstance(diff_ids, list) or len(wires) != len(diff_ids) or not wires:
        raise broken("its manifest and configuration do not list the same layers")
    if len(wires) > limits.layers:
        raise broken(f"it has more than {limits.layers} layers")
    layers = []
    for wire, diff_id in zip(wires, diff_ids, strict=True):
        kind, size = _text(wire, "mediaType"), wire.get("size")
        if kind not in (*_PLAIN, *_GZIPPED):
            raise broken(f"a layer is of the type {kind!r}; only tar and tar with gzip are taken")
        if type(size) is not int or size < 0:
            raise broken("a layer has no size")
        layers.append(Layer(_text(wire, "digest"), str(diff_id), size, kind in _GZIPPED))
    if sum(layer.size for layer in layers) > limits.packed_bytes:
        raise broken(f"it is larger than {limits.packed_bytes} bytes")
    return tuple(layers)


def _text(wire: Any, key: str) -> str:
    if not isinstance(wire, dict) or not isinstance(wire.get(key), str):
        raise broken(f"a part of its manifest has no {key}")
    return str(wire[key])


def _words(value: Any, name: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > _MAX_WORDS or not all(isinstance(word, str) for word in value):
        raise broken(f"its {name} is not a list of texts")
    return tuple(value)


def _volume(path: str) -> str:
    if not path.startswith("/") or any(part in (".", "..") for part in path.split("/")) or set(path) & set(":,\n\0"):
        raise broken(f"its volume {path[:200]!r} is not an absolute path")
    return path


def _digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
