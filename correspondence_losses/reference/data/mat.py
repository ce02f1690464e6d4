"""Arrays of numbers from MATLAB 5 files, and nothing else of them.

SciPy's reader (1.17 as those before it) takes the tags in a file at their word: cells in cells use up its stack, a tag
of no known type, one changed byte, makes it read outside its tables, and both end the process without a message; and a
few compressed kilobytes unpack to any size.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_MAT_BYTES = 2**29
"""Files that unpack to more are refused: YCB-Video's take 4 MB."""

_HEADER = 128
_MATRIX, _COMPRESSED, _INT8, _INT32, _UINT32 = 14, 15, 1, 5, 6
_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = range(6, 16)  # double to uint64
_COMPLEX_OR_LOGICAL = 0x0A00


def read_arrays(content: bytes, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return those arrays of a file that have one of ``names``, in the type that they are stored in.

    Raises:
        ValueError: The file is damaged or no MATLAB 5 file, or one of these is no array of real numbers.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[_HEADER - 2 : _HEADER])
    if order is None or struct.unpack_from(f"{order}H", content, _HEADER - 4) != (0x0100,):
        raise ValueError("wanted a MATLAB 5 file, got one of another version")
    arrays = {}
    for body in _matrices(content, order):
        parts = _elements(body, order)
        (_, flags), (_, shape), (_, name) = (_expect(parts, kind) for kind in (_UINT32, _INT32, _INT8))
        decoded = bytes(name).decode("latin1")
        if decoded in names:
            arrays[decoded] = _array(decoded, flags, shape, parts, order)
    return arrays


_Element = tuple[int, memoryview]


def _matrices(content: bytes, order: str) -> Iterator[memoryview]:
    size = 0
    for kind, body in _elements(memoryview(content)[_HEADER:], order, padded=False):
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            unpacked = unpacker.decompress(body, MAX_MAT_BYTES - size + 1)
            size += len(unpacked)
            if size > MAX_MAT_BYTES:
                raise ValueError(f"unpacks to more than {MAX_MAT_BYTES} bytes")
            if not unpacker.eof:
                raise ValueError("ends within a compressed variable")
            kind, body = _expect(_elements(memoryview(unpacked), order), _MATRIX)
        if kind != _MATRIX:
            raise ValueError(f"holds an element of type {kind} where a variable should be")
        yield body


def _elements(data: memoryview, order: str, *, padded: bool = True) -> Iterator[_Element]:
    """Walk over (type, content); elements within a variable begin at multiples of 8 bytes."""
    at = 0
    while at < len(data):
        if len(data) - at < 8:
            raise ValueError("ends within a tag")
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # up to four bytes are stored in the tag itself
            kind, size, begin, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            if size > 4:
                raise ValueError(f"holds a short element of {size} bytes")
        else:
            begin = at + 8
            end = begin + (-(-size // 8) * 8 if padded else size)
        if begin + size > len(data):
            raise ValueError("ends within an element")
        yield kind, data[begin : begin + size]
        at = end


def _expect(elements: Iterator[_Element], kind: int) -> _Element:
    element = next(elements, None)
    if element is None or element[0] != kind:
        raise ValueError(f"wanted an element of type {kind}, got {'none' if element is None else element[0]}")
    return element


def _array(name: str, flags: memoryview, shape: memoryview, parts: Iterator[_Element], order: str) -> NDArray[Any]:
    flag, _ = struct.unpack(f"{order}II", flags)
    if flag & 0xFF not in _CLASSES or flag & _COMPLEX_OR_LOGICAL:
        raise ValueError(f"{name} must be an array of real numbers")
    kind, values = next(parts, (0, memoryview(b"")))
    if kind not in _DTYPES:
        raise ValueError(f"{name} holds values of type {kind}")
    sizes = struct.unpack(f"{order}{len(shape) // 4}i", shape)
    array = np.frombuffer(values, dtype=f"{order}{_DTYPES[kind]}")
    if len(sizes) < 2 or min(sizes) < 0:
        raise ValueError(f"{name} has shape {sizes}")
    return array.reshape(sizes, order="F").astype(array.dtype.newbyteorder("="))
