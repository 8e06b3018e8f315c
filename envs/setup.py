"""Make the environment .venv from envs/requirements.lock; standard library alone, any Python may start it.

Refuses, before anything is written, an interpreter that is too old and a disk without room.
"""

import shutil
import subprocess
import sys
import venv

FOLDER = ".venv"
OLDEST = (3, 11)
ROOM = 2.5e9  # bytes: the environment with the CPU build of torch takes 1.7 GB, installing it some more
TORCH = "torch=="


def main():
    if sys.version_info < OLDEST:
        stop(
            "Python %d.%d is too old: Attention Atlas needs %d.%d or newer. "
            "Name another one: make PYTHON=python3.12 ..." % (*sys.version_info[:2], *OLDEST)
        )
    free = shutil.disk_usage(".").free
    if free < ROOM:
        stop(
            "The disk has %.1f GB left, the environment needs %.1f GB. Make room, or work in a folder on another disk."
            % (free / 1e9, ROOM / 1e9)
        )
    say("making %s with Python %d.%d" % (FOLDER, *sys.version_info[:2]))
    venv.create(FOLDER, with_pip=True, clear=True)
    with open("envs/requirements.in") as file:
        torch = next(line.strip() for line in file if line.startswith(TORCH))
    say("installing %s (the build that this machine's package index has)" % torch)
    pip(torch)
    say("installing everything else from envs/requirements.lock, hashes checked")
    pip("--require-hashes", "--no-deps", "-r", "envs/requirements.lock")
    say("installing attention-atlas itself")
    pip("--no-deps", "--no-build-isolation", "-e", ".")
    say("done")


def pip(*arguments):
    command = [FOLDER + "/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    if subprocess.run(command).returncode:
        stop("pip failed (see above). Is a package index in reach? Then run the same make again: it starts afresh.")


def say(text):
    print("[environment] " + text, flush=True)


def stop(text):
    sys.exit("Error: " + text)


if __name__ == "__main__":
    main()
