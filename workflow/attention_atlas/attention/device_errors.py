"""Errors of devices: memory that ran out, and devices that failed, told from errors that a sample is to blame for."""

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size


class OutOfMemoryError(Exception):
    """A batch did not fit; fewer samples may."""


# What accelerate does not know.
ALSO_MEMORY = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of a device or of the machine."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, Exception)
        and (should_reduce_batch_size(error) or any(text in str(error) for text in ALSO_MEMORY))
    )


def device_lost(error: BaseException) -> bool:
    """Whether an error says that the device itself failed: nothing works on it any more in this process."""
    return isinstance(error, torch.AcceleratorError) and not out_of_memory(error)


def first_line(error: BaseException) -> str:
    """The first line of what an error says, its name where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def release_memory() -> None:
    """Give cached blocks back to the device."""
    clear_device_cache(garbage_collection=True)
