"""Archives of strangers: what is an image, and what is refused before an engine sees it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairgrid.errors import ManifestError
from fairgrid.runtime.container.image_check import Image, ImageLimits, check_image
from fairgrid.runtime.container.image_files import ArchiveFiles
from fairgrid.runtime.container.oci_writer import ImageFile, RunConfig, files_of_folder, write_archive
from fairgrid.runtime.container.small_images import write_nothing_image

GZIPPED = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def plain(name: str, **fields: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(member, field, value)
    return member


class Parts:
    """An image in the making, of which a test breaks one thing."""

    def __init__(self, layer: bytes | None = None) -> None:
        self.layer = layer if layer is not None else layer_of((plain("a"), b"hello"))
        self.packed = gzip.compress(self.layer)
        self.config: dict[str, Any] = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/a"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(self.layer)]},
        }
        self.manifest: dict[str, Any] = {
            "layers": [{"mediaType": GZIPPED, "digest": digest_of(self.packed), "size": len(self.packed)}]
        }
        self.blobs: dict[str, bytes] = {}
        self.index: dict[str, Any] = {}

    def write(self, path: Path, change: Callable[[Parts], None] = lambda parts: None) -> Path:
        config = json.dumps(self.config).encode()
        self.manifest["config"] = {"digest": digest_of(config), "size": len(config)}
        manifest = json.dumps(self.manifest).encode()
        for data in (config, manifest, self.packed):
            self.blobs[digest_of(data)] = data
        self.index = {"manifests": [{"digest": digest_of(manifest), "size": len(manifest)}]}
        change(self)
        with tarfile.open(path, "w") as tar:
            files = {"oci-layout": b"{}", "index.json": json.dumps(self.index).encode()}
            files |= {"blobs/sha256/" + name.removeprefix("sha256:"): data for name, data in self.blobs.items()}
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        return path


def check(path: Path, **limits: int) -> Image:
    with ArchiveFiles.opened(path) as files:
        return check_image(files, architecture="amd64", limits=ImageLimits(**limits))


def test_a_whole_image_is_read_and_its_sizes_are_measured(tmp_path: Path) -> None:
    parts = Parts()
    image = check(parts.write(tmp_path / "x.oci.tar"))
    assert image.entrypoint == ("/a",) and image.unpacked_bytes == len(parts.layer)
    assert image.config_digest == parts.manifest["config"]["digest"]


def test_the_image_that_does_nothing_is_whole(tmp_path: Path) -> None:
    write_nothing_image(tmp_path / "x.oci.tar", "amd64")
    assert check(tmp_path / "x.oci.tar").entrypoint == ("/program",)


@pytest.mark.parametrize(("of", "says"), [("config", "configuration"), ("manifest", "manifest"), ("layer", "layer")])
def test_a_part_that_does_not_hash_to_its_name_is_refused(tmp_path: Path, of: str, says: str) -> None:
    def change(parts: Parts) -> None:
        manifest = parts.index["manifests"][0]["digest"]
        name = {"config": parts.manifest["config"]["digest"], "manifest": manifest}.get(of, digest_of(parts.packed))
        data = parts.blobs[name]
        parts.blobs[name] = data.replace(b"linux", b"linUx") if of == "config" else data[:-1] + b" "
        if of == "config":
            parts.blobs[name] = data + b" "
        if of == "layer":
            parts.blobs[name] = data[:-4] + bytes(4)

    with pytest.raises(ManifestError, match=says):
        check(Parts().write(tmp_path / "x.oci.tar", change))


def test_a_layer_whose_content_is_another_than_the_configuration_says_is_refused(tmp_path: Path) -> None:
    parts = Parts()
    parts.config["rootfs"]["diff_ids"] = ["sha256:" + "0" * 64]
    with pytest.raises(ManifestError, match="unpacks to"):
        check(parts.write(tmp_path / "x.oci.tar"))


def test_an_image_for_another_machine_is_refused_and_both_are_named(tmp_path: Path) -> None:
    parts = Parts()
    parts.config["architecture"] = "arm64"
    with pytest.raises(ManifestError, match="linux/arm64 and the runtime for linux/amd64"):
        check(parts.write(tmp_path / "x.oci.tar"))


def test_a_gzip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    for layer in (layer_of((plain("zeros"), bytes(5_000_000))), layer_of((plain("a"), b"")) + bytes(5_000_000)):
        parts = Parts(layer)
        assert len(parts.packed) < 10_000
        with pytest.raises(ManifestError, match=r"unpack to more|files are larger"):
            check(parts.write(tmp_path / "x.oci.tar"), unpacked_bytes=1_000_000)


def test_a_layer_that_is_larger_than_its_manifest_says_is_refused(tmp_path: Path) -> None:
    parts = Parts()
    parts.manifest["layers"][0]["size"] = 10
    with pytest.raises(ManifestError, match="larger than its manifest says"):
        check(parts.write(tmp_path / "x.oci.tar"))


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    layer = layer_of(*((plain(f"f{number}"), b"") for number in range(50)))
    with pytest.raises(ManifestError, match="more than 49 files"):
        check(Parts(layer).write(tmp_path / "x.oci.tar"), files=49)


@pytest.mark.parametrize(
    ("member", "says"),
    [
        (plain("../etc/cron.d/x"), "leads out"),
        (plain("/etc/shadow"), "leads out"),
        (plain("a/../../x"), "leads out"),
        (plain("l", type=tarfile.LNKTYPE, linkname="../../etc/shadow"), "out of the image"),
        (plain("d", type=tarfile.BLKTYPE, devmajor=8), "device"),
        (plain("d", type=tarfile.CHRTYPE, devmajor=1), "device"),
    ],
)
def test_paths_links_and_devices_that_lead_out_of_the_image_are_refused(
    tmp_path: Path, member: tarfile.TarInfo, says: str
) -> None:
    with pytest.raises(ManifestError, match=says):
        check(Parts(layer_of((member, b""))).write(tmp_path / "x.oci.tar"))


def test_an_index_with_two_images_is_refused(tmp_path: Path) -> None:
    def change(parts: Parts) -> None:
        parts.index["manifests"] *= 2

    with pytest.raises(ManifestError, match="exactly one image"):
        check(Parts().write(tmp_path / "x.oci.tar", change))


def test_a_layer_of_a_kind_that_cannot_be_checked_is_refused(tmp_path: Path) -> None:
    parts = Parts()
    parts.manifest["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+zstd"
    with pytest.raises(ManifestError, match="only tar and tar with gzip"):
        check(parts.write(tmp_path / "x.oci.tar"))


def test_a_volume_that_is_no_path_is_refused(tmp_path: Path) -> None:
    parts = Parts()
    parts.config["config"]["Volumes"] = {"/a:/b": {}}
    with pytest.raises(ManifestError, match="volume"):
        check(parts.write(tmp_path / "x.oci.tar"))


NO_ARCHIVES = {"empty": b"", "text": b"x" * 2000, "zipped": gzip.compress(b"x" * 2000), "zeros": bytes(20_000)}


@pytest.mark.parametrize("data", NO_ARCHIVES.values(), ids=NO_ARCHIVES)
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.oci.tar").write_bytes(data)
    with pytest.raises(ManifestError, match="refused"):
        check(tmp_path / "x.oci.tar")


def test_a_tar_without_an_index_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.oci.tar").write_bytes(layer_of((plain("a"), b"1")))
    with pytest.raises(ManifestError, match="without oci-layout"):
        check(tmp_path / "x.oci.tar")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_archive_that_is_damaged_anywhere_is_refused_or_the_same_image(tmp_path: Path, data: st.DataObject) -> None:
    path = Parts().write(tmp_path / "x.oci.tar")
    whole, content = check(path), bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.sampled_from((len(content), 700, 2_000, 5_000)))]))
    try:
        assert check(path).config_digest == whole.config_digest
    except ManifestError:
        pass


def test_an_image_that_is_written_twice_has_the_same_bytes_whatever_the_disk_says(tmp_path: Path) -> None:
    archives = []
    for name, order in (("one", ("b", "a")), ("two", ("a", "b"))):
        folder = tmp_path / name
        (folder / "sub").mkdir(parents=True)
        for file in order:
            (folder / "sub" / file).write_text(file)
        (folder / "sub" / "b").chmod(0o700)
        (folder / "link").symlink_to("sub/a")
        target = tmp_path / f"{name}.oci.tar"
        write_archive(target, files_of_folder(folder), RunConfig(entrypoint=("/sub/b",)), architecture="amd64")
        archives.append(target)
    assert archives[0].read_bytes() == archives[1].read_bytes()
    assert check(archives[0]).entrypoint == ("/sub/b",)


def test_a_file_named_twice_is_the_last_and_folders_above_are_there(tmp_path: Path) -> None:
    files = [ImageFile("a/b/c", b"1"), ImageFile("a/b/c", b"22")]
    written = write_archive(tmp_path / "x.oci.tar", files, RunConfig(), architecture="amd64")
    image = check(tmp_path / "x.oci.tar")
    assert written.config_digest == image.config_digest and written.digest == image.digest
    with (
        ArchiveFiles.opened(tmp_path / "x.oci.tar") as opened,
        tarfile.open(fileobj=opened.open_blob(image.layers[0].digest)) as layer,
    ):
        assert [(member.name, member.size) for member in layer] == [("a", 0), ("a/b", 0), ("a/b/c", 2)]
