"""Generates unusual ratings files, and damages files at random, for the reader fuzz test."""

import csv
import gzip
import io
import random
import uuid
import zlib

import pyarrow as pa

from support.slow_reader import Expected

IDS = [
    *(
        "1",
        "2",
        "30",
        "400",
        "07",
        " 7",
        "7 ",
        "+7",
        "-7",
        "-0",
        "0",
        "0x10",
        "1e3",
        "1.0",
        "٣",
        "NA",
        "nan",
        "null",
    ),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "9" * 40),
    *(
        "Anna",
        "a,b",
        'a"b',
        '"',
        "a\nb",
        "a\r\nb",
        "a\tb",
        "a::b",
        "a;b",
        "Zoë",
        "日本",
        "\u00a0",
        " ",
        "",
        "x" * 50,
    ),
    str(uuid.UUID(int=7)),
]
NUMBERS = [
    *(
        "1",
        "2",
        "3",
        "4.5",
        "0.5",
        "-10",
        "100",
        "5.",
        ".5",
        "+1",
        "1e3",
        " 4 ",
        "007",
        "3.0000001",
        "1e-400",
        "-0.0",
    ),
    *(
        "",
        " ",
        "x",
        "nan",
        "NaN",
        "inf",
        "-Infinity",
        "1e39",
        "1e400",
        "0x10",
        "1_0",
        "1,5",
        "3.4028235e38",
        "٣",
    ),
    *("9223372036854775807", "9223372036854775808", "-9223372036854775808", "100.9", "-0.5", "1" * 400),
]
FORMATS = {  # file name -> delimiter (None: the header decides), quotes, header line
    "r.csv": (None, True, True),
    "r.tsv": ("\t", True, True),
    "u.data": ("\t", False, False),
    "ratings.dat": ("::", False, False),
}
LINE_ENDS = ["\n", "\n", "\r\n", "\r"]


def text_file(rng: random.Random, name: str) -> bytes:
    """A random text file with mostly good rows."""
    delimiter, quotes, has_header = FORMATS[name]
    if delimiter is None:
        delimiter = rng.choice([",", ",", ",", ";", "|"])
    header = ["user_id", "item_id", "rating", "timestamp"]
    if has_header and rng.random() < 0.5:
        extra = rng.sample(["weight", "title", "Note"], rng.randint(0, 3))
        header = [h for h in header if h != "timestamp" or rng.random() < 0.7] + extra
        rng.shuffle(header)
    evil = rng.choice([0, 0, 0.02, 0.3])
    ids = rng.choice(
        [IDS[:4], IDS[:4], [str(rng.getrandbits(60)) for _ in range(9)], IDS[:9], ["a", "b", "7"]]
    )

    def field(column):
        if rng.random() < evil:
            return rng.choice(IDS if column.endswith("_id") else NUMBERS)
        if column.endswith("_id"):
            return rng.choice(ids)
        if column == "timestamp":
            return str(rng.randrange(10**9))
        return rng.choice(["a title", "", "x"]) if column in ("title", "Note") else rng.choice(NUMBERS[:5])

    rows = [[field(column) for column in header] for _ in range(rng.choice([0, 1, 3, 30, 300]))]
    end = rng.choice(LINE_ENDS)
    if quotes:
        sink = io.StringIO(newline="")
        quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
        writer = csv.writer(sink, delimiter=delimiter, lineterminator=end, quoting=quoting)
        writer.writerows([header] * has_header + rows)
        return sink.getvalue().encode()
    return "".join(delimiter.join(row) + end for row in rows).encode()


def mutated(rng: random.Random, content: bytes) -> bytes:
    """Applies a few random mutations."""
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        content = accident(rng, content)
    return content


def accident(rng: random.Random, content: bytes) -> bytes:
    at = rng.randint(0, len(content))
    to = min(len(content), at + rng.choice([0, 1, 5, 100]))
    before, cut, after = content[:at], content[at:to], content[to:]
    kind = rng.randrange(12)
    if kind == 0:
        return before
    if kind <= 4:
        pieces = [b"", b"\0", b"\xe9\xff", rng.randbytes(3), rng.randbytes(50), b"y" * 300, b"y" * 200_000]
        return before + rng.choice(pieces) + rng.choice([b"", cut]) + after
    if kind <= 7:
        return before + rng.choice([b'"', b"\r", b"\n", b"\t", b",", b":", b"\n\n", b'"\n']) + after
    if kind == 8:
        return rng.choice([content + cut, before + content, content + b"PAR1" + rng.randbytes(20)])
    if kind == 9:
        return rng.choice([b"\xef\xbb\xbf" + content, content.rstrip(b"\r\n")])
    encoding = "latin-1" if kind == 10 else rng.choice(["utf-16", "latin-1", "utf-8"])
    return content.decode(errors="replace").encode(encoding, errors="replace")


def compressed(rng: random.Random, content: bytes) -> tuple[bytes, Expected | None]:
    """Compresses and maybe damages a file: (file, expected result, None if that of the content)."""
    zstd = rng.random() < 0.5
    whole = pa.Codec("zstd").compress(content, asbytes=True) if zstd else gzip.compress(content, mtime=0)
    accident = rng.choice(["none", "none", "cut", "flip"])
    if accident == "cut":
        return whole[: rng.randint(5, len(whole) - 1)], Expected(refused=True)
    if accident == "flip" and not zstd:  # zstd has no checksum here
        at = rng.randrange(10, len(whole))
        flipped = whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :]
        try:
            return flipped, None if gzip.decompress(flipped) == content else Expected(refused=True)
        except (OSError, EOFError, zlib.error):
            return flipped, Expected(refused=True)
    return whole, None
