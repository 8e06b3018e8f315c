"""A server that forks the commands of the project: the libraries that each of them imports are imported once.

The workflow starts some hundred processes, and nearly all of their time is that of imports. A fork of this server runs
the same entry points in the caller's folder, with its arguments, environment, open files and limits; the package is
taken from the caller's PYTHONPATH, as a fresh interpreter would. It dies with its caller.

    python fork_server.py ADDRESS FOLDER   serves the socket ADDRESS; FOLDER gets an executable for each command
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import socket
import struct
import sys
import threading
from pathlib import Path

COMMANDS = {
    "atlas": ("attention_atlas.cli", "app"),
    "snakemake": ("snakemake.cli", "main"),
    "dvc": ("dvc.cli", "main"),
}
# What the commands import, none of it of this project; a missing one is only imported later, by each process.
LIBRARIES = (
    *(
        "numpy",
        "pandas",
        "xarray",
        "dask.array",
        "netCDF4",
        "pyarrow.parquet",
        "yaml",
        "typer",
        "pydantic",
        "PIL.Image",
    ),
    *("scipy.stats", "scipy.ndimage", "scipy.spatial.distance", "statsmodels.stats.proportion", "sklearn.metrics"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf", "jinja2", "pyarrow"),
    *("torch", "transformers", "transformers.models.qwen3_vl.modeling_qwen3_vl", "transformers.generation.utils"),
    *("transformers.models.qwen3_vl.processing_qwen3_vl", "transformers.models.auto.modeling_auto"),
    *("transformers.models.qwen2_vl.image_processing_qwen2_vl", "transformers.models.auto.processing_auto"),
    *("snakemake.cli", "snakemake.workflow", "snakemake.api", "snakemake.executors.local", "snakemake.report"),
    *("dvc.cli", "dvc.repo", "dvc.commands.repro", "dvc.commands.status", "dvc.commands.data_sync"),
    *("dvc.repo.reproduce", "dvc.stage", "dvc_data.index", "dvc_objects.fs.local", "dvc.fs"),
)
LIMITS = (resource.RLIMIT_FSIZE, resource.RLIMIT_AS, resource.RLIMIT_NOFILE)
CLIENT = """\
#!{python} -IS
import json, os, resource, socket, struct, sys
request = json.dumps(
    {{
        "command": os.path.basename(sys.argv[0]),
        "arguments": sys.argv,
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "limits": [resource.getrlimit(limit) for limit in {limits}],
    }}
).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [struct.pack("!Q", len(request))], [0, 1, 2])
    server.sendall(request)
    answer = b""
    while part := server.recv(4):
        answer += part
sys.exit(struct.unpack("!i", answer)[0] if answer else "the command ended without an exit code")
"""


def main(address: str, folder: str) -> None:
    """Serve until the process that started this one is gone."""
    parent = os.getppid()
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(128)
        listening.settimeout(1)
        for name in COMMANDS:
            write_client(Path(folder, name), address)
        while os.getppid() == parent:
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            with contextlib.suppress(TimeoutError):
                caller = listening.accept()[0]
                if os.fork() == 0:
                    listening.close()
                    serve(caller)
                caller.close()


def write_client(path: Path, address: str) -> None:
    """Write the executable that hands a command to the server."""
    text = CLIENT.format(python=sys.executable, address=address, limits=tuple(map(int, LIMITS)))
    path.with_suffix(".new").write_text(text, encoding="utf-8")
    path.with_suffix(".new").chmod(0o755)
    path.with_suffix(".new").rename(path)


def serve(caller: socket.socket) -> None:
    """Run one command in the place of its caller, tell it the exit code, and end this process."""
    caller.settimeout(None)
    head, files, *_ = socket.recv_fds(caller, 8, 3)
    request = json.loads(read(caller, struct.unpack("!Q", head)[0]))
    for place, file in enumerate(files):
        os.dup2(file, place)
        os.close(file)
    for limit, values in zip(LIMITS, request["limits"], strict=True):
        resource.setrlimit(limit, tuple(values))
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    threading.Thread(target=end_with, args=(caller,), daemon=True).start()
    code = exit_code_of(request["command"], request["arguments"])
    caller.sendall(struct.pack("!i", code))
    os._exit(code)


def read(caller: socket.socket, length: int) -> bytes:
    """Read so many bytes."""
    parts = b""
    while len(parts) < length:
        parts += caller.recv(length - len(parts))
    return parts


def end_with(caller: socket.socket) -> None:
    """Kill this process when its caller is gone."""
    if not caller.recv(1):
        os.kill(os.getpid(), signal.SIGKILL)


def exit_code_of(command: str, arguments: list[str]) -> int:
    """Run an entry point as its script would, with all that follows at the end of an interpreter."""
    sys.argv = [str(Path(sys.executable).with_name(command)), *arguments[1:]]
    sys.path[:0] = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    module, name = COMMANDS[command]
    code = 0
    try:
        code = getattr(importlib.import_module(module), name)() or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return code


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file, which no command sees
    main(*sys.argv[1:])
