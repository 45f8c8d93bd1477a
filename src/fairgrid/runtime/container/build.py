"""Builds an OCI archive from a folder, the same bytes each time."""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure, UsageError
from fairgrid.runtime.container.containerfile import read_recipe
from fairgrid.runtime.container.engines import is_root
from fairgrid.runtime.container.image_check import check_image
from fairgrid.runtime.container.image_files import ArchiveFiles
from fairgrid.runtime.container.oci_writer import RunConfig, WrittenImage, files_of_folder, repack, write_archive

__all__ = ["ARCHITECTURES", "CONTAINERFILES", "build_image", "here"]

CONTAINERFILES: Final = ("Containerfile", "Dockerfile")
ARCHITECTURES: Final = ("amd64", "arm64")
_BUILD_S: Final = 3600
_TAG: Final = "localhost/fairgrid-build:1"


def here() -> str:
    """What images call this machine's architecture."""
    return "arm64" if platform.machine().lower() in ("aarch64", "arm64") else "amd64"


def build_image(
    folder: Path, target: Path, *, architecture: str, entrypoint: tuple[str, ...] = ()
) -> tuple[WrittenImage, str]:
    """Build ``folder`` into the archive ``target``; the image, and what built it. Blocks.

    With a Containerfile of ``FROM scratch`` and files, or with none (then the folder is the root, and ``entrypoint`` is
    needed), nothing but Python is used. Any other Containerfile is given to buildah.

    Raises:
        UsageError: the folder cannot be built.
        HostFailure: buildah is needed and not here, or it failed.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder. Name the one that holds the image's files.")
    recipe_file = next((folder / name for name in CONTAINERFILES if (folder / name).is_file()), None)
    if recipe_file is None:
        if not entrypoint:
            raise UsageError(
                f"{folder} has no Containerfile, so it is taken as the image's root folder; then --entrypoint must "
                f"say which program in it is run."
            )
        files = files_of_folder(folder)
        config = RunConfig(entrypoint=entrypoint)
        target.parent.mkdir(parents=True, exist_ok=True)
        return write_archive(target, files, config, architecture=architecture), "python"
    if entrypoint:
        raise UsageError(f"{recipe_file} says what is run; leave --entrypoint away.")
    recipe = read_recipe(recipe_file.read_text(), folder)
    if recipe is None:
        return _by_buildah(folder, recipe_file, target, architecture), "buildah"
    if not recipe.config.entrypoint and not recipe.config.command:
        raise UsageError(f'{recipe_file} has neither ENTRYPOINT nor CMD in JSON form, like ENTRYPOINT ["/program"].')
    target.parent.mkdir(parents=True, exist_ok=True)
    return write_archive(target, recipe.files, recipe.config, architecture=architecture), "python"


def _by_buildah(folder: Path, recipe: Path, target: Path, architecture: str) -> WrittenImage:
    tool = shutil.which("buildah")
    if tool is None:
        raise HostFailure(
            f"{recipe} is more than FROM scratch and files, so it needs buildah, which is not installed. "
            f"Install it (apt install buildah), or copy ready files FROM scratch."
        )
    with tempfile.TemporaryDirectory(prefix="fairgrid-build-") as temporary:
        store = Path(temporary)
        base = [tool, "--root", str(store / "root"), "--runroot", str(store / "run")]
        base += ["--storage-driver", "overlay" if is_root() else "vfs"]
        archive = store / "built.oci.tar"
        try:
            _run(
                [
                    *(*base, "bud", "--timestamp", "0", "--no-cache", "--isolation", "chroot", "--format", "oci"),
                    *("--os", "linux", "--arch", architecture, "--file", str(recipe), "--tag", _TAG, str(folder)),
                ]
            )
            _run([*base, "push", _TAG, f"oci-archive:{archive}"])
            target.parent.mkdir(parents=True, exist_ok=True)
            with ArchiveFiles.opened(archive) as files:
                return repack(target, files, check_image(files, architecture=architecture))
        finally:
            # What buildah mounted on its store would keep the folder from being removed.
            subprocess.run(["umount", "-l", str(store / "root" / "overlay")], capture_output=True, check=False)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_BUILD_S, check=False, text=True
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostFailure(f"buildah could not build the image: {error}.") from error
    if done.returncode != 0:
        raise HostFailure(f"buildah could not build the image: {done.stderr.strip()[-1500:]}")
