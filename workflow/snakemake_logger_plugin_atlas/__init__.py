"""A line a job on the terminal, and what went wrong in one sentence at the end: `snakemake --logger atlas`.

Snakemake finds the plugin by the name of this module. Its own full log is still written to .snakemake/log.
"""

import logging
import sys
import time
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

NOTHING_TO_DO = "Nothing to be done"
# Snakemake's last words after a failed job; the sentences of the failed jobs stand in their place.
FAILED = "WorkflowError"
EXITING = "Exiting because a job execution failed"
OF_A_JOB = ("RuleException", "CalledProcessError")
ERROR = "Error: "


class LogHandler(LogHandlerBase):
    """Write one line when a job ends, and the errors of failed jobs after everything else."""

    def __post_init__(self) -> None:
        self.started: dict[int, tuple[str, float]] = {}  # job id -> what it makes, and when it began
        self.num_jobs = self.num_done = 0
        self.began = time.monotonic()
        self.errors: dict[str, list[str]] = {}  # what went wrong -> the jobs in which it did

    @property
    def writes_to_stream(self) -> bool:
        """Take the place of Snakemake's own lines on the terminal."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Leave the log file to Snakemake."""
        return False

    @property
    def has_filter(self) -> bool:
        """See every event, whatever `--quiet` says."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Write lines of its own."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """Do without the graph of rules."""
        return False

    def emit(self, record: logging.LogRecord) -> None:
        """Write what an event is worth on the terminal, if anything."""
        try:
            for line in self.lines_of(record):
                print(line, file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)

    def lines_of(self, record: logging.LogRecord) -> list[str]:
        """Return the lines for one event."""
        event = getattr(record, "event", None)
        of_event = {
            LogEvent.RUN_INFO: self.planned,
            LogEvent.JOB_INFO: self.job_started,
            LogEvent.JOB_FINISHED: self.job_finished,
            LogEvent.JOB_ERROR: self.job_failed,
            LogEvent.ERROR: self.failed,
        }
        if event in of_event:
            return of_event[event](record)
        message = record.getMessage()
        worth_telling = event is None and (record.levelno >= logging.WARNING or message.startswith(NOTHING_TO_DO))
        worth_telling &= not message.startswith(EXITING)
        return [message] if worth_telling else []

    def planned(self, record: Any) -> list[str]:
        """Tell how many jobs there are."""
        self.num_jobs = record.stats["total"]
        return [f"{self.num_jobs} jobs to run"]

    def job_started(self, record: Any) -> list[str]:
        """Remember a job; its own lines follow while it runs."""
        self.started[record.jobid] = (title(record.rule_name, record.wildcards), time.monotonic())
        return []

    def job_finished(self, record: Any) -> list[str]:
        """Tell a job, its place among all jobs, and how long it took."""
        self.num_done += 1
        name, began = self.started.get(record.job_id, ("", self.began))
        width = len(str(self.num_jobs))
        if self.num_done == self.num_jobs:
            return [f"all {self.num_jobs} jobs done in {duration(time.monotonic() - self.began)}"]
        seconds = time.monotonic() - began
        return [f"{time.strftime('%H:%M:%S')} [{self.num_done:{width}} of {self.num_jobs}] {name}, {seconds:.1f} s"]

    def job_failed(self, record: Any) -> list[str]:
        """Keep a failed job's error for the end."""
        name = self.started.get(record.jobid, (record.rule_name, 0))[0]
        self.errors.setdefault(reason_of(list(record.log or [])), []).append(name)
        return [f"{time.strftime('%H:%M:%S')} FAILED {name}; no further job is started"]

    def failed(self, record: Any) -> list[str]:
        """Tell an error of the whole run: those of its failed jobs, if that is what it was."""
        if record.exception in OF_A_JOB and self.started:
            return []  # the job itself is told, by `job_failed`
        if record.exception == FAILED and self.errors:
            return ["", *(f"{', '.join(names)} failed: {reason}" for reason, names in self.errors.items())]
        return [sentence_of(record.getMessage())]


def title(rule: str, wildcards: dict[str, str] | None) -> str:
    """Return a job's rule and what it is about: "extract shapes x shapes-tiny 000"."""
    values = dict(wildcards or {})
    run = " x ".join(values.pop(name) for name in ("study", "model") if name in values)
    part = values.pop("part", "").lstrip("/")
    return " ".join(text for text in (rule, run, part, *values.values()) if text)


def sentence_of(message: str) -> str:
    """Return what an error says, without Snakemake's frame where it is an error that a user can act on."""
    lines = message.splitlines()
    if not lines or not lines[0].startswith("AtlasError in file"):
        return message
    return ERROR + "\n".join(line for line in lines[1:] if not line.startswith('  File "'))


def reason_of(logs: list[str]) -> str:
    """Return the sentence that a command left in its log; else what its log ends with, and where it is."""
    for path in logs:
        try:
            lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        starts = [number for number, line in enumerate(lines) if line.startswith(ERROR)]
        if starts:
            return "\n".join(lines[starts[-1] :]).removeprefix(ERROR)
        if any(line.startswith("Traceback") for line in lines):
            return f"{lines[-1].strip()} (a fault of the program; the whole of it is in {path})"
        return f"it was stopped before it was done, without an error of its own; its log is {path}"
    return "it was stopped before it wrote a log"


def duration(seconds: float) -> str:
    """Return a time as people write it: "45 s", "2 min 57 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
