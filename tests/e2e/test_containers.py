"""The example image through the whole network: built without a registry, run by podman or docker, verified and paid."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fairgrid.localnet.options import WorkerSpec
from tests.containers import docker_daemon
from tests.e2e.network import running_network
from tests.needs import need

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
EXAMPLE = Path(__file__).parents[2] / "examples" / "word_count"
TEXT = "It was the best of times, it was the worst of times.\n"


@pytest.mark.parametrize("engine", ["podman", "docker"])
def test_an_image_is_run_in_containers_of_two_owners_who_agree(engine: str, tmp_path: Path) -> None:
    need(shutil.which(engine), f"{engine} is not installed (make system-deps)")
    need(shutil.which("cc"), "the example needs a C compiler (cc)")
    if engine == "docker":
        docker_daemon()
    image = shutil.copytree(EXAMPLE / "image", tmp_path / "image")
    compiled = image / "word_count"
    subprocess.run(["cc", "-static", "-O2", "-o", compiled, EXAMPLE / "word_count.c"], check=True, timeout=60)
    (tmp_path / "text.txt").write_text(TEXT * 1000)
    workers = [WorkerSpec("worker-1"), WorkerSpec("worker-2")]
    for worker in workers:
        folder = tmp_path / "network" / "workers" / worker.name
        folder.mkdir(parents=True)
        (folder / "policy.toml").write_text(f'levels = ["wasm", "container"]\ncontainer_engine = "{engine}"\n')
    with running_network(tmp_path / "network", tmp_path, workers=workers) as network:
        built = network.fairgrid("app", "build", image, "--out", "word_count.oci.tar", "--json")
        again = network.fairgrid("app", "build", image, "--out", "again.oci.tar", "--json")
        assert built.code == 0, built.stderr
        assert built.document["cid"] == again.document["cid"]
        answer = network.fairgrid(
            *("run", "word_count.oci.tar", "--input", "text.txt", "--arg", "3"),
            *("--trust", "0.7", "--out", "out", "--json"),
            timeout_s=180,
        )
        broken = bytearray((tmp_path / "again.oci.tar").read_bytes())
        broken[len(broken) // 2] ^= 1
        (tmp_path / "broken.oci.tar").write_bytes(bytes(broken))
        refused = network.fairgrid("run", "broken.oci.tar", "--trust", "0.7", "--out", "never")
    assert answer.code == 0, answer.stderr
    assert sum(line["agreed"] for line in answer.document["contributions"]) == 2
    assert (tmp_path / "out" / "words.csv").read_text() == "word,count\nit,2000\nof,2000\nthe,2000\n"
    assert (tmp_path / "out" / "files.csv").read_text() == "file,words\ntext.txt,12000\n"
    assert (tmp_path / "out" / "stdout.txt").read_text() == "12000 words, 7 different, in 1 files\n"
    assert refused.code == 2 and "refused" in refused.stderr and "Nothing was signed" in refused.stderr
