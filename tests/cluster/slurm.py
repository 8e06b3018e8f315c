"""A real Slurm of one node, for tests: installed from Debian's packages, started, stopped.

It keeps to itself: own folder, own ports, own munge, found by its clients through the environment alone, so that a
Slurm of the machine is left as it is. Two copies of /dev/null stand for GPUs, which Slurm hands out like real ones.
"""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HOME = Path("/run/attention-atlas-slurm")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "runuser")
PACKAGES = ("slurm-wlm", "munge")
GPUS = 2
CONFIGURATION = """\
ClusterName=atlas
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={home}/munge/socket
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
MpiDefault=none
# Neither control groups nor an accounting database: a container has none.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
# The node is what is said here, whatever slurmd finds.
SlurmdParameters=config_overrides
ReturnToService=2
# Ended jobs stay known to squeue for the whole test.
MinJobAge=7200
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4096 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=atlas Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class SlurmUnavailableError(RuntimeError):
    """No Slurm can be had on this machine; the message says what is needed."""


@contextlib.contextmanager
def running() -> Iterator[dict[str, str]]:
    """A Slurm that accepts jobs, as the environment of its clients; stopped at the end, whatever happened."""
    require_programs()
    stop()  # what an earlier run left that was killed itself
    try:
        start()
        yield environment()
    finally:
        stop()


def environment() -> dict[str, str]:
    """The environment in which sbatch, squeue, srun and the rest find this Slurm."""
    return {"SLURM_CONF": str(HOME / "slurm.conf"), "PATH": f"{HOME / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def require_programs() -> None:
    """Install Slurm where it is missing; SlurmUnavailableError where this cannot be done."""
    if os.geteuid() != 0:
        raise SlurmUnavailableError(f"{_needs()}: it is run by user id {os.geteuid()}, and Slurm's daemons need root")
    if not _missing():
        return
    if shutil.which("apt-get") is None:
        raise SlurmUnavailableError(f"{_needs()}: {', '.join(_missing())} not found, and no apt-get to install them")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        ran = subprocess.run(["apt-get", "-qq", *command], env=quiet, capture_output=True, text=True)
        if ran.returncode:
            told = (ran.stdout + ran.stderr)[-2000:]
            raise SlurmUnavailableError(f"{_needs()}: `apt-get {' '.join(command)}` failed\n{told}")
    if _missing():
        raise SlurmUnavailableError(f"{_needs()}: {', '.join(_missing())} still not found after the installation")


def _needs() -> str:
    return f"make test-slurm needs root and Slurm (on Debian or Ubuntu: apt-get install {' '.join(PACKAGES)})"


def _missing() -> list[str]:
    return [name for name in PROGRAMS if shutil.which(name) is None]


def start() -> None:
    """Start munge, the controller and the node, and wait until the node is idle."""
    write_files()
    munge = HOME / "munge"
    files = [f"--{name}-file={munge}/{name}" for name in ("key", "pid", "log", "seed")]
    _run("runuser", "-u", "munge", "--", "munged", f"--socket={munge}/socket", *files)
    _run("slurmctld", "-f", str(HOME / "slurm.conf"))
    _run("slurmd", "-f", str(HOME / "slurm.conf"))
    _wait("the node is not idle", lambda: "idle" in _run("sinfo", "--noheader", "--format=%t", check=False))


def write_files() -> None:
    """The folder with the configuration, the key of munge, and the files that stand for GPUs."""
    for folder in ("munge", "state", "spool", "bin"):
        (HOME / folder).mkdir(parents=True)
    key = HOME / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    for path in (key.parent, key):
        shutil.chown(path, "munge", "munge")
    # Snakemake's job step calls srun without any SLURM_ variable but the job's own, so this one brings its own.
    srun = HOME / "bin" / "srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={HOME}/slurm.conf exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    for number in range(GPUS):
        os.mknod(HOME / f"gpu{number}", stat.S_IFCHR, os.makedev(1, 3))  # Slurm asks for devices; these are /dev/null
    (HOME / "gres.conf").write_text(f"Name=gpu File={HOME}/gpu[0-{GPUS - 1}]\n")
    host = os.uname().nodename.split(".")[0]
    text = CONFIGURATION.format(home=HOME, host=host, cpus=os.cpu_count(), gpus=GPUS)
    (HOME / "slurm.conf").write_text(text)


def stop() -> None:
    """Cancel every job, end the daemons and remove the folder; nothing happens where none runs."""
    if not HOME.exists():
        return
    if _process("slurmctld.pid") and _process("slurmd.pid"):
        _run("scancel", "--user=root", check=False)
        with contextlib.suppress(TimeoutError):
            _wait("jobs still run", lambda: not _run("squeue", "--noheader", check=False))
    for name in ("slurmd.pid", "slurmctld.pid", "munge/pid"):
        _end(name)
    shutil.rmtree(HOME)


def _process(pid_file: str) -> int | None:
    """The id of the daemon that wrote a pid file, where it still runs; another process may have got its number."""
    try:
        pid = int((HOME / pid_file).read_text())
        ours = str(HOME) in Path(f"/proc/{pid}/cmdline").read_text()
    except (OSError, ValueError):
        return None
    return pid if ours else None


def _end(pid_file: str) -> None:
    pid = _process(pid_file)
    if pid is None:
        return
    os.kill(pid, signal.SIGTERM)
    try:
        _wait(f"{pid_file} does not end", lambda: _process(pid_file) is None)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)


def _run(*command: str, check: bool = True) -> str:
    """What a command prints; RuntimeError with its words where it fails."""
    ran = subprocess.run(command, env={**os.environ, **environment()}, capture_output=True, text=True)
    if check and ran.returncode:
        raise RuntimeError(f"{' '.join(command)}: {ran.returncode}\n{ran.stdout}{ran.stderr}{_logs()}")
    return ran.stdout.strip()


def _wait(trouble: str, done, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"{trouble} after {seconds} s\n{_logs()}")
        time.sleep(0.2)


def _logs() -> str:
    """The ends of the daemons' logs."""
    logs = [HOME / "slurmctld.log", HOME / "slurmd.log", HOME / "munge" / "log"]
    return "\n".join(f"{path}:\n{path.read_text()[-1500:]}" for path in logs if path.exists())


if __name__ == "__main__":
    {"start": lambda: (require_programs(), stop(), start()), "stop": stop}[sys.argv[1]]()
