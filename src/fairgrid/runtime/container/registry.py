"""Copies an image from a registry that the owner allows, by digest, without the owner's credentials."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import os
import shutil
import signal
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure
from fairgrid.runtime.container.folders import measure
from fairgrid.runtime.container.image_files import MAX_JSON_BYTES, broken, json_object
from fairgrid.runtime.container.image_reference import ImageReference
from fairgrid.runtime.container.settings import ContainerSettings

__all__ = ["check_registry", "copy_from_registry"]

_COPY_S: Final = 900.0
_LOOK_S: Final = 0.2
_MAX_FILES: Final = 1_000


async def copy_from_registry(
    reference: ImageReference, folder: Path, *, settings: ContainerSettings, architecture: str, max_bytes: int
) -> str:
    """Copy it to ``folder``; the digest that its manifest must have.

    Raises:
        HostFailure: the owner does not allow the registry, or it did not give the image.
        ManifestError: what it gave is not what the reference's digest says.
    """
    check_registry(reference, settings)
    tool = shutil.which("skopeo")
    if tool is None:
        raise HostFailure("Images of a registry are fetched with skopeo, which is not installed (apt install skopeo)")
    insecure = settings.insecure_loopback and _is_loopback(reference.registry)
    source = f"docker://{reference.name}"
    options = ("--override-os", "linux", "--override-arch", architecture)
    await _run(
        [
            *(tool, *options, "copy", "--quiet", "--src-no-creds"),
            *(f"--src-tls-verify={'false' if insecure else 'true'}", source, f"dir:{folder}"),
        ],
        folder,
        max_bytes,
    )
    found = "sha256:" + hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    if found == reference.digest:
        return found
    # The digest of a list for several kinds of machines: the copy is the one for this kind.
    inspect = [tool, "inspect", "--raw", "--no-creds", f"--tls-verify={'false' if insecure else 'true'}", source]
    data = await _run(inspect, folder, max_bytes)
    if "sha256:" + hashlib.sha256(data).hexdigest() != reference.digest:
        raise broken(f"the registry gave another image than {reference.digest}")
    listed = json_object(data[: MAX_JSON_BYTES + 1], "list of manifests").get("manifests")
    if not isinstance(listed, list) or found not in [item.get("digest") for item in listed if isinstance(item, dict)]:
        raise broken(f"the registry gave {found}, which the list {reference.digest} does not name")
    return found


def check_registry(reference: ImageReference, settings: ContainerSettings) -> None:
    """Hold a reference against the owner's list, also when its image is here already.

    Raises:
        HostFailure: the owner does not allow its registry.
    """
    if reference.registry not in settings.registries:
        allowed = ", ".join(settings.registries) or "none"
        raise HostFailure(
            f"The image lies in the registry {reference.registry}, which this machine's owner does not allow "
            f"(container_registries in policy.toml: {allowed})"
        )


async def _run(command: list[str], folder: Path, max_bytes: int) -> bytes:
    """Run skopeo; what it said. More bytes than are allowed end it."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    ending = asyncio.ensure_future(process.communicate())
    try:
        async with asyncio.timeout(_COPY_S):
            while not ending.done():
                await asyncio.wait((ending,), timeout=_LOOK_S)
                held = await asyncio.to_thread(measure, folder, at_most=_MAX_FILES)
                if held.size > max_bytes or held.files > _MAX_FILES:
                    raise broken(f"it is larger than {max_bytes} bytes, or in more than {_MAX_FILES} parts")
    except TimeoutError:
        raise HostFailure(f"The registry did not give the image within {_COPY_S:.0f} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = await ending
    if process.returncode != 0:
        text = " ".join(stderr.decode(errors="replace").split())[-600:]
        raise HostFailure(f"The registry did not give the image: {text}")
    return stdout


def _is_loopback(registry: str) -> bool:
    host = registry.partition(":")[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
