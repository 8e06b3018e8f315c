"""Errors of devices: memory that ran out, and devices that failed, told from errors that a sample is to blame for."""

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size


class OutOfMemoryError(Exception):
    """A batch did not fit; fewer samples may."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of a device or of the machine."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, Exception) and should_reduce_batch_size(error)
    )


def device_lost(error: BaseException) -> bool:
    """Whether an error says that the device itself failed: nothing works on it any more in this process."""
    return isinstance(error, torch.AcceleratorError) and not out_of_memory(error)


def release_memory() -> None:
    """Give cached blocks back to the device."""
    clear_device_cache(garbage_collection=True)
