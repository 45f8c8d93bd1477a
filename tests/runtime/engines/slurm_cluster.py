"""A real Slurm in a folder: munged, slurmctld, slurmd on loopback ports of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.needs import need

__all__ = ["SlurmCluster", "free_ports", "running_slurm"]

_CONF = """
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
SrunPortRange={srun_ports}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=1,batch_sched_delay=0,default_queue_depth=10000,sched_min_interval=200000
SlurmdParameters=config_overrides
SlurmdTimeout=60
KillWait=5
ReturnToService=2
MailProg=/bin/true
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
GresTypes=gpu
NodeName={host} Gres=gpu:tiny:2 NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=64000 State=UNKNOWN
PartitionName=lab Nodes=ALL Default=YES MaxTime=INFINITE State=UP DefMemPerCPU=100
"""


@dataclass
class SlurmCluster:
    """Its three daemons; ``environment`` makes Slurm's commands find it."""

    folder: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What a process that uses it needs."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def command(self, *words: str) -> str:
        """What one of Slurm's commands prints; what it complains of is a note of the error."""
        done = subprocess.run(
            words, env=os.environ | self.environment, capture_output=True, text=True, timeout=30, check=False
        )
        try:
            done.check_returncode()
        except subprocess.CalledProcessError as error:
            error.add_note(done.stderr)
            raise
        return done.stdout

    def jobs(self, states: str = "PENDING,RUNNING,COMPLETING") -> list[str]:
        """Names of the jobs that are in these states."""
        return self.command("squeue", "-h", "-r", f"--states={states}", "-o", "%j").split()

    def ids(self, states: str = "PENDING,RUNNING,COMPLETING") -> list[str]:
        """Slurm's ids of the jobs that are in these states."""
        return self.command("squeue", "-h", "-r", f"--states={states}", "-o", "%i").split()

    def start(self, daemon: str) -> None:
        """Start ``munged``, ``slurmctld`` or ``slurmd``, in the foreground of its own session."""
        munge = self.folder / "munge"
        words = {
            "munged": [
                *("munged", "--foreground", "--force", f"--key-file={munge}/key", f"--socket={munge}/socket"),
                *(f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed"),
            ],
            "slurmctld": ["slurmctld", "-D", "-f", str(self.folder / "slurm.conf")],
            "slurmd": ["slurmd", "-D", "-f", str(self.folder / "slurm.conf")],
        }[daemon]
        with (self.folder / "log" / f"{daemon}.said").open("ab") as said:
            self.daemons[daemon] = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True, cwd="/"
            )

    def stop(self, daemon: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End one of them."""
        process = self.daemons.pop(daemon, None)
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def wait_until_idle(self, within_s: float = 50.0) -> None:
        """Wait until its node takes jobs."""
        end = time.monotonic() + within_s
        while True:
            try:
                state = self.command("sinfo", "-h", "-o", "%T").strip()
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
                state = "no answer"
            if state in ("idle", "mixed", "allocated"):
                return
            if time.monotonic() > end:
                raise RuntimeError(f"Slurm does not get ready ({state}); its logs are in {self.folder}/log")
            time.sleep(0.1)


@contextmanager
def running_slurm(folder: Path, *, cpus: int = 16) -> Iterator[SlurmCluster]:
    """A cluster of one node that says it has ``cpus`` processors and two GPUs, for the time of the block."""
    tools = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "srun")
    found = all(shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") for tool in tools)
    need(found, "Slurm is not installed: make system-deps")
    need(os.geteuid() == 0, "Slurm's daemons need root here")
    for name in ("munge", "state", "spool", "log"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "munge" / "key").write_bytes(secrets.token_bytes(1024))
    (folder / "munge" / "key").chmod(0o600)
    first, second = free_ports(2)
    conf = _CONF.format(
        host=socket.gethostname(),
        folder=folder,
        ctld_port=first,
        slurmd_port=second,
        srun_ports="60001-63000",
        cpus=cpus,
    )
    (folder / "slurm.conf").write_text(conf)
    for number in range(2):
        # Slurm counts and numbers character devices; it never opens them.
        (folder / f"nvidia{number}").symlink_to("/dev/null")
    (folder / "gres.conf").write_text(f"AutoDetect=off\nName=gpu Type=tiny File={folder}/nvidia[0-1]\n")
    cluster = SlurmCluster(folder)
    try:
        cluster.start("munged")
        end = time.monotonic() + 20
        while not (folder / "munge" / "socket").exists() and time.monotonic() < end:
            time.sleep(0.02)
        cluster.start("slurmctld")
        cluster.start("slurmd")
        cluster.wait_until_idle()
        yield cluster
    finally:
        for daemon in ("slurmd", "slurmctld", "munged"):
            cluster.stop(daemon)
        _end_leftovers(folder)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _end_leftovers(folder: Path) -> None:
    """Step daemons outlive their slurmd; those of this cluster carry its folder in their environment."""
    import psutil

    for process in psutil.process_iter(["name"]):
        if not (process.info["name"] or "").startswith("slurmstepd"):
            continue
        try:
            if process.environ().get("SLURM_CONF") == str(folder / "slurm.conf"):
                process.kill()
        except psutil.Error:
            continue
