"""Damage to files: to their bytes, and to what lies below the checksums and the compression of each format."""

import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

Damage = Callable[[Random, bytes], bytes]
"""From the content of a whole file to that of a damaged one; the same for the same random state."""

_INTERESTING = (0, 1, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_NAMES = ("../../escaped", "/escaped", "..", "", "\0", "a\nb", "x" * 5000, "\udcff", "%s%n", "CON", "~", "0" * 5000)


def damage_bytes(rng: Random, content: bytes) -> bytes:
    """Cut, overwrite, insert, remove, repeat or exchange bytes."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(data) + 1)
        size = min(rng.choice((1, 1, 2, 4, 8, 64, 1024)), len(data) - at)
        kind = rng.randrange(8)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            del data[at : at + size]
        elif kind == 2:
            data[at : at + size] = rng.randbytes(size)
        elif kind == 3:
            data[at:at] = rng.randbytes(rng.choice((1, 4, 64)))
        elif kind == 4:
            data[at:at] = data[at : at + size] * rng.choice((1, 2, 100))
        elif kind == 5 and size:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 6:
            order, width = rng.choice("<>"), rng.choice("BHI")
            number = rng.choice(_INTERESTING) & (2 ** (8 * struct.calcsize(width)) - 1)
            data[at : at + struct.calcsize(width)] = struct.pack(order + width, number)
        else:
            other = rng.randrange(len(data) + 1)
            data[at : at + size] = data[other : other + size]
    return bytes(data)


def damage_png(rng: Random, content: bytes) -> bytes:
    """Damage chunks, and the pixels below their compression, and give all of them the right checksums again."""
    if rng.random() < 0.3:
        return damage_bytes(rng, content)
    chunks, at = [], 8
    while at < len(content):
        (size,) = struct.unpack_from(">I", content, at)
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    index = rng.randrange(len(chunks))
    kind, body = chunks[index]
    choice = rng.randrange(6)
    if choice == 0:
        chunks[index] = kind, damage_bytes(rng, body)
    elif choice == 1:
        header = list(struct.unpack(">IIBBBBB", chunks[0][1]))
        field = rng.randrange(len(header))
        header[field] = rng.choice(_INTERESTING) & (0xFFFFFFFF if field < 2 else 0xFF)
        chunks[0] = b"IHDR", struct.pack(">IIBBBBB", *header)
    elif choice == 2:
        pixels = zlib.decompress(b"".join(part for name, part in chunks if name == b"IDAT"))
        chunks = [chunk for chunk in chunks if chunk[0] != b"IDAT"]
        chunks.insert(-1, (b"IDAT", zlib.compress(damage_bytes(rng, pixels))))
    elif choice == 3:
        chunks.insert(index, chunks[rng.randrange(len(chunks))])
    elif choice == 4:
        del chunks[index]
    else:
        name = rng.choice((b"PLTE", b"tRNS", b"eXIf", b"iCCP", b"zTXt", b"iTXt", b"acTL", b"fcTL", b"fdAT", b"gAMA"))
        text = b"key\0\0" + zlib.compress(bytes(rng.choice((10, 10**6, 10**8))), 1)
        chunks.insert(index, (name, rng.choice((rng.randbytes(rng.randrange(40)), text))))
    return content[:8] + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def damage_mat(rng: Random, content: bytes) -> bytes:
    """Damage the variables of a MATLAB 5 file below their compression, or their headers."""
    if rng.random() < 0.3:
        return damage_bytes(rng, content)
    elements, at = [], 128
    while at < len(content):
        kind, size = struct.unpack_from("<II", content, at)
        body = content[at + 8 : at + 8 + size]
        elements.append(zlib.decompress(body) if kind == 15 else content[at : at + 8 + size])
        at += 8 + size
    index = rng.randrange(len(elements))
    element = elements[index]
    if rng.random() < 0.5:  # flags, dimensions and name come first
        elements[index] = damage_bytes(rng, element[:64]) + element[64:]
    elif rng.random() < 0.5:
        at = rng.randrange(0, 64, 4)
        number = struct.pack("<I", rng.choice((*_INTERESTING, *range(20))))
        elements[index] = element[:at] + number + element[at + 4 :]
    else:
        elements[index] = damage_bytes(rng, element)
    if rng.random() < 0.1:
        elements.insert(index, elements[rng.randrange(len(elements))])
    if rng.random() < 0.5:
        return content[:128] + b"".join(elements)
    packed = [zlib.compress(element, 1) for element in elements]
    return content[:128] + b"".join(struct.pack("<II", 15, len(body)) + body for body in packed)


def damage_json(rng: Random, content: bytes) -> bytes:
    """Replace, remove or repeat values and keys of a JSON tree."""
    if rng.random() < 0.2:
        return damage_bytes(rng, content)
    tree = json.loads(content)
    for _ in range(rng.choice((1, 1, 2))):
        tree = _damage_tree(rng, tree)
    text = json.dumps(tree)
    if rng.random() < 0.1:
        text = text.replace("1", rng.choice(("1" * 5000, "[" * 200_000, "1e999", "-0", "NaN")), 1)
    return text.encode("utf-8", "surrogatepass")


def damage_yaml(rng: Random, content: bytes) -> bytes:
    """Damage the lines of a YAML file, or add some that make careless readers run code or out of memory."""
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
    hostile = (
        '!!python/object/apply:os.system ["touch escaped"]\n',
        'output: !!python/object/apply:pathlib.Path.touch ["escaped"]\n',
        "segmenter: {class_path: os.system, init_args: {command: touch escaped}}\n",
        "segmenter: {class_path: subprocess.Popen, init_args: {args: [touch, escaped]}}\n",
        'segmenter: {class_path: builtins.exec, init_args: {source: \'open("escaped", "w")\'}}\n',
        "config: /etc/passwd\n",
        bomb,
        bomb + "output: *a39\n",
        "x: &x [*x]\n",
        "output: &x [*x]\n",
        "output: " + "[" * 5000,
        "<<: 3\n",
        "? [a, b]\n: c\n",
        "\t",
        "---\na: 1\n---\nb: 2\n",
    )
    choice = rng.randrange(4)
    if choice == 0:
        return damage_bytes(rng, content)
    if choice == 1:
        return damage_lines(rng, content)
    if choice == 2:
        return content + rng.choice(hostile).encode()
    lines = content.decode().splitlines()
    at = rng.randrange(len(lines))
    name = lines[at].partition(":")[0]
    value = rng.choice(("null", "-1", "1e400", ".nan", "[]", "{}", "true", "[[1]]", "2001-01-01", "''", *_NAMES))
    lines[at] = f"{name}: {value}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def damage_lines(rng: Random, content: bytes) -> bytes:
    """Exchange, remove, repeat or replace lines of a text."""
    if rng.random() < 0.3:
        return damage_bytes(rng, content)
    lines = content.splitlines()
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    choice = rng.randrange(5)
    if choice == 0:
        lines[at], lines[other] = lines[other], lines[at]
    elif choice == 1:
        del lines[at]
    elif choice == 2:
        lines[at:at] = [lines[other]] * rng.choice((1, 1000))
    elif choice == 3:
        lines[at] = rng.choice(_NAMES).encode("utf-8", "surrogatepass")
    else:
        lines[at] = damage_bytes(rng, lines[at])
    return b"\n".join(lines)


def damage_zip(rng: Random, content: bytes) -> bytes:
    """Damage the records of a ZIP archive and give them the right checksums again, or leave some out."""
    if rng.random() < 0.3:
        return damage_bytes(rng, content)
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as whole, zipfile.ZipFile(stream, "w") as damaged:
        records = whole.infolist()
        pickles = [index for index, record in enumerate(records) if record.filename.endswith(".pkl")]
        chosen = rng.choice((rng.randrange(len(records)), *pickles))
        for index, record in enumerate(records):
            body = whole.read(record)
            if index == chosen and rng.random() < 0.1:
                continue
            damaged.writestr(record.filename, damage_bytes(rng, body) if index == chosen else body)
    return stream.getvalue()


def _damage_tree(rng: Random, tree: Any) -> Any:
    if isinstance(tree, (dict, list)) and tree and rng.random() < 0.85:
        key = rng.choice(list(tree) if isinstance(tree, dict) else range(len(tree)))
        choice = rng.randrange(8)
        if choice == 0:
            del tree[key]
        elif choice == 1 and isinstance(tree, dict):
            tree[rng.choice((*_NAMES, "-1", "1.5", "²", "0000001"))] = tree[key]
        elif choice == 1:
            tree.insert(key, tree[key])
        else:
            tree[key] = _damage_tree(rng, tree[key])
        return tree
    deep: list[Any] = []
    for _ in range(rng.choice((5, 100, 900))):
        deep = [deep]
    numbers = (-1, 0, 1, 0.5, 2**31, 2**63, 2**70, 1e-320, 1e308, -1e200, math.inf, math.nan)
    return rng.choice((None, True, False, "1", deep, {}, [], [0] * 1000, {"a": {"b": 1}}, *numbers, *_NAMES))
