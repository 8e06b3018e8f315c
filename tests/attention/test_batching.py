"""Batches hold whole images where they can, and errors are told apart by what they are about."""

from types import SimpleNamespace

import pytest
import torch
from attention_atlas.attention import batching
from attention_atlas.attention.batching import packed
from attention_atlas.attention.device_errors import device_lost, first_line, out_of_memory


@pytest.mark.parametrize(
    ("groups", "size", "batches"),
    [
        (["ab", "cd", "ef"], 4, ["abcd", "ef"]),
        (["ab", "cd", "ef"], 3, ["ab", "cd", "ef"]),
        (["abcde", "f", "gh"], 3, ["abc", "de", "fgh"]),  # what is left of a divided image is not read with others
        (["a", "bcd"], 3, ["a", "bcd"]),
        ([], 3, []),
    ],
)
def test_an_image_is_divided_only_where_it_is_larger_than_a_batch_and_then_shares_none(groups, size, batches):
    assert packed(groups, size) == [list(batch) for batch in batches]


@pytest.mark.parametrize(
    ("of_sample", "of_image", "kept", "images", "size"),
    [
        (100, 10, 1, "abcd", 50),
        (100, 400, 1, "abcd", 12),  # encoding four images needs more than generating four samples
        (100, 400, 1, "aabb", 25),  # two samples an image
        (100, 400, 1, "aaaa", 50),
        (100, 400, 1, "aaab", 12),  # a batch may be of such images as `b` alone
        (100, 10, 100, "abcd", 16),  # three copies of what is kept
    ],
)
def test_an_automatic_batch_is_what_its_largest_need_allows(monkeypatch, of_sample, of_image, kept, images, size):
    named = {"bytes_of_sample": of_sample, "bytes_of_image": of_image, "bytes_kept": kept, "bytes_of_pixels": 0}
    for name, bytes_of_one in named.items():
        monkeypatch.setattr(batching, name, lambda *args, bytes_of_one=bytes_of_one: bytes_of_one)
    monkeypatch.setattr(batching, "free_memory", lambda device: 10_000)
    monkeypatch.setattr(batching, "USABLE", 1.0)
    source = SimpleNamespace(model=SimpleNamespace(device=torch.device("cpu")))
    prompts = [SimpleNamespace(images=(image,)) for image in images]
    assert batching.automatic_size(source, prompts, None, None, jobs=2) == size


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        torch.AcceleratorError("CUDA error: out of memory\nmore"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_memory_that_ran_out_is_known_in_every_form(error):
    assert out_of_memory(error)
    assert not device_lost(error)


def test_a_device_that_failed_is_no_lack_of_memory():
    lost = torch.AcceleratorError("CUDA error: unspecified launch failure")
    assert device_lost(lost)
    assert not out_of_memory(lost)
    assert not out_of_memory(ValueError("an image of a strange size"))
    assert not device_lost(ValueError("an image of a strange size"))


def test_an_error_without_words_is_told_by_its_name():
    assert first_line(MemoryError()) == "MemoryError"
    assert first_line(ValueError("one\ntwo")) == "one"
