"""When a recording was made: names and chunks as recorders write them, and what only looks like a time."""

import io
import os
import struct
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sondino.audio.recorded import MAX_BYTES, RecordingTime, recorded_at, time_of


def text_of(path: Path | str) -> str | None:
    """Its beginning in ISO 8601, without milliseconds that are zero."""
    recorded = recorded_at(path)
    return None if recorded is None else time_of(recorded, 0).replace(".000", "")


# ---- names ----------------------------------------------------------------------------------------------------

MAY = "2024-05-01T05:30:00"
TIMES = {
    # AudioMoth; T: triggered by a threshold
    "20240501_053000.WAV": MAY,
    "20240501_053000T.WAV": MAY,
    "24F319046907737B_20240501_053000.WAV": MAY,
    "5DFB6DFC.WAV": "2019-12-19T12:33:00Z",  # as in the tests of github.com/kitzeslab/aru_metadata_parser
    "5CC92A18.wav": "2019-05-01T05:09:44Z",  # date -u -d @$((0x5CC92A18))
    # Song Meter
    "S4A00123_20240501_053000.wav": MAY,
    "FNQ-RBS_20190102_044802_010.wav": "2019-01-02T04:48:02",
    "SBT-6-76-18_0+1_0_20160621_080000.wav": "2016-06-21T08:00:00",
    "PREFIX_0+1_20240501_053000_000.wav": MAY,
    "OLONG-CH1_0+1_20171121$143444.wav": "2017-11-21T14:34:44",
    # SwiftOne
    "SwiftOne_20220719_000000_-0400.wav": "2022-07-19T00:00:00-04:00",
    "SwiftOne_20240501_053000_+0200.wav": f"{MAY}+02:00",
    # BAR-LT
    "20240501T053000+0200_REC.wav": f"{MAY}+02:00",
    "20210617T080000+0000_Rec2_-18.2656+144.5564.flac": "2021-06-17T08:00:00Z",
    "20190401T000000+1000_REC [19.21440152.8811].flac": "2019-04-01T00:00:00+10:00",
    "20180226_040000_Bar29 [27.2819 90.1361].wav": "2018-02-26T04:00:00",
    "S20240815T091156.982648+1000_E20240815T091251.967555+1000_-12.34567+78.98102.wav": (
        "2024-08-15T09:11:56.983+10:00"  # rounded
    ),
    # Other recorders and programs
    "5783.190101120000.wav": "2019-01-01T12:00:00",
    "OWL_123456_2022-07-19_T00-00-00.WAV": "2022-07-19T00:00:00",
    "ABC2010-08-26_10_39_50_M00667DEF.wav": "2010-08-26T10:39:50",
    "Wav0123_2008_07_04__22_58_14.wav": "2008-07-04T22:58:14",
    "AMAR123.20240501T053000Z.wav": f"{MAY}Z",
    "icListen1234_20240501T053000.250Z.wav": f"{MAY}.250Z",
    "Corvus corone-85-2024-05-01-birdnet-05:30:00.mp3": MAY,
    "2024-05-01-birdnet-RTSP_1-05:30:00.wav": MAY,
    "turdus_merula_85p_20240501T053000Z.m4a": f"{MAY}Z",
    "20260111 135431-096B2196.m4a": "2026-01-11T13:54:31",
    "20260111 135431-09612196.m4a": "2026-01-11T13:54:31",
    "WhatsApp Audio 2024-05-01 at 05.30.00.opus": MAY,
    "2024-05-01 05_30.wav": MAY,
    # ISO 8601, and what file systems make of it
    "2024-05-01T05-30-00Z_x.wav": f"{MAY}Z",
    "2024-05-01T05_30_00+0200": f"{MAY}+02:00",
    "2024-05-01T05:30:00+02:00.flac": f"{MAY}+02:00",
    "2024-05-01 05.30.00": MAY,
    "2024-05-01 05.30.00.wav": MAY,
    "20240501T0530Z.ogg": f"{MAY}Z",
    "20240501t053000z.wav": f"{MAY}Z",
    "2020-04-06-04-00-00-UTC.wav": "2020-04-06T04:00:00Z",
    "site 3, 2020-04-06 04-00-00 UTC-3.wav": "2020-04-06T04:00:00-03:00",
    "20070415051314.wav": "2007-04-15T05:13:14",
    "prefix_20140101_235959+10.mp3": "2014-01-01T23:59:59+10:00",
    "20240229_120000.wav": "2024-02-29T12:00:00",
    # A sign that begins no offset
    "20140101_235959-02.wav": "2014-01-01T23:59:59",
    "20140101_235959-0001.wav": "2014-01-01T23:59:59",
    "20140101_235959_-0330.5+14433.2.wav": "2014-01-01T23:59:59",
    "20140101_235959_+0145+09013.wav": "2014-01-01T23:59:59",
    "20140101_235959+9999.wav": "2014-01-01T23:59:59",
    "20140101_235959+05_30.wav": "2014-01-01T23:59:59",
    "20180517_010348.5AFCD4F4.WAV": "2018-05-17T01:03:48",
    "20180517_010348.512FCD4F.WAV": "2018-05-17T01:03:48",
    # Two dates
    "20240401_site4_20240501_053000.wav": MAY,
    "20240501_053000_exported_20240612.wav": MAY,
    "2024-04-01_2024-05-01T05-30-00Z.wav": f"{MAY}Z",
    "20240501_053000_20240501_054000.wav": MAY,  # from ... to
    "20240301_120000_20240501_053000.wav": MAY,
    "20240501_053000_20241301_120000.wav": MAY,
}
NO_TIMES = [
    "20240501.wav",
    "2024-05-01.wav",
    "20240501_0001.wav",
    "20240501_0530.wav",
    "2024-05-01_01-02.wav",
    "240501_0530.wav",
    "ZOOM0001.WAV",
    "10160435.wav",
    "12345678.wav",
    "57123456.WAV",  # in hexadecimal a time of 2016, but it has no letter
    "track_12345678_123456.wav",
    "track_20345678_123456.wav",
    "IMG_20249901_053000.jpg",
    "IMG_20249901_053000.wav",
    "20241301_053000.wav",
    "20240230_053000.wav",
    "20230229_120000.wav",
    "20240501_243000.wav",
    "20240501_056000.wav",
    "20240501_0530001.wav",
    "120240501_053000.wav",
    "v2.0.20240501.wav",
    "model-1.2.3_20240501-2.wav",
    "3.11.2024.05.01.1.wav",
    "19700101_000554.wav",  # a clock that was never set
    "2024-05-01 at 05.30.00 PM.m4a",
    "DEADBEEF.WAV",  # 2088
    "5cc92a18.wav",
    "15CC92A18.WAV",
    "x_5CC92A18.WAV",
    "54A48DFF.WAV",  # the last second of 2014
    "99999999.WAV",
    "5783.191301120000.wav",
    "20٢٤٠٥٠١_٠٥٣٠٠٠.wav",
    "",
    ".",
    "..",
    "\0",
    "20240501\0_053000",
]


@pytest.mark.parametrize(("name", "expected"), TIMES.items())
def test_a_name_with_a_time(name, expected):
    recorded = recorded_at(Path("20000101_000000") / name)
    assert recorded is not None and recorded.source == "name"
    assert text_of(name) == expected


@pytest.mark.parametrize("name", NO_TIMES)
def test_a_name_without_a_time(name):
    assert recorded_at(name) is None


def test_a_name_with_a_time_that_cannot_be_opened(tmp_path):
    path = tmp_path / "20240501_053000.wav"
    path.mkdir()
    assert text_of(path) == MAY
    if hasattr(os, "mkfifo"):
        path = tmp_path / "20240501_053000Z.wav"
        os.mkfifo(path)
        assert text_of(path) == f"{MAY}Z"


def test_a_name_with_a_time_that_may_not_be_read(tmp_path, monkeypatch):
    def denied(self, mode):
        raise PermissionError(13, "Permission denied", str(self))

    path = wav(tmp_path / "20240501_053000.wav", guano("2001-02-03T04:05:06"))
    monkeypatch.setattr(Path, "open", denied)
    assert text_of(path) == MAY


# ---- chunks ---------------------------------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes, size: int | None = None, order: str = "<") -> bytes:
    return kind + struct.pack(f"{order}I", len(body) if size is None else size) + body + bytes(len(body) % 2)


def guano(stamp: str, before: str = "") -> bytes:
    lines = f"GUANO|Version: 1.0\nMake: X\n{before}Timestamp:{stamp}\nNote: at 2000-01-01T00:00:00Z\n"
    return chunk(b"guan", lines.encode())


def entry(kind: int, body: bytes) -> bytes:
    return struct.pack("<HI", kind, len(body)) + body


def wamd(stamp: bytes) -> bytes:
    return chunk(b"wamd", entry(0, b"\1\0") + entry(1, b"SM4") + entry(5, stamp) + entry(6, b"WGS84,1,2"))


def info(comment: str, size: int = 384) -> bytes:
    """An AudioMoth's: the comment is padded with zeros."""
    return chunk(
        b"LIST", b"INFO" + chunk(b"ICMT", comment.encode().ljust(size, b"\0")) + chunk(b"IART", b"AudioMoth 1")
    )


def audiomoth(zone: str) -> bytes:
    return info(f"Recorded at 05:30:00 01/05/2024{zone} by AudioMoth 24F at medium gain while battery was 4.1V.")


def wav(path: Path, *chunks: bytes, first: bool = False, format: str = "WAV", subtype: str = "PCM_16") -> Path:
    """A WAV by libsndfile, with chunks before its fmt chunk or at its end."""
    soundfile.write(path, np.zeros(501, np.float32), 8000, subtype, format=format)
    data = path.read_bytes()
    added = b"".join(chunks)
    data = data[:12] + added + data[12:] if first else data + bytes(len(data) % 2) + added
    if format == "WAV":
        data = data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
    path.write_bytes(data)
    return path


CHUNKS = [
    (guano(f" {MAY}"), "guano", MAY),
    (guano(f"{MAY}Z"), "guano", f"{MAY}Z"),  # AudioMoth 1.10
    (guano(f"  {MAY}+04:00 \r"), "guano", f"{MAY}+04:00"),
    (guano(f" {MAY}.123456-03:30"), "guano", f"{MAY}.123-03:30"),
    (guano(f" {MAY}.9996"), "guano", "2024-05-01T05:30:01"),
    (guano(f" {MAY}.1234567"), "guano", f"{MAY}.123"),  # Elekon
    (guano(" 2024-05-01 05:30:00+0100"), "guano", f"{MAY}+01:00"),  # Echo Meter, github.com/riggsd/guano-py/issues/17
    (guano(" 2024-05-01 05:30:00-3:00"), "guano", f"{MAY}-03:00"),  # Song Meter
    (guano(f" {MAY}Z", before="X|Timestamp: 1999-01-01T00:00:00\nModel: Timestamp: 1\nÄ: ö\n"), "guano", f"{MAY}Z"),
    (chunk(b"guan", b"Note: \xff\nTimestamp: 2024-05-01T05:30:00\n"), "guano", MAY),
    (wamd(b"2024-05-01 05:30:00-05:00"), "wamd", f"{MAY}-05:00"),
    (wamd(b"2024-05-01 05:30:00.000"), "wamd", MAY),
    (wamd(b"2024-05-01 05:30:00"), "wamd", MAY),
    (wamd(b"2024-05-01 05:30:00+0100\0"), "wamd", f"{MAY}+01:00"),
    (audiomoth(" (UTC)"), "comment", f"{MAY}Z"),
    (audiomoth(" (UTC+2)"), "comment", f"{MAY}+02:00"),
    (audiomoth(" (UTC+10)"), "comment", f"{MAY}+10:00"),
    (audiomoth(" (UTC-3:30)"), "comment", f"{MAY}-03:30"),
    (audiomoth(" (UTC-0:30)"), "comment", f"{MAY}-00:30"),
    (audiomoth(" (UTC+5: 5)"), "comment", f"{MAY}+05:05"),  # "%2d" in firmware 1.2
    (audiomoth(""), "comment", MAY),  # the first firmware
    (audiomoth(" (local)"), "comment", MAY),
]


@pytest.mark.parametrize("first", [False, True], ids=["last", "first"])
@pytest.mark.parametrize(("added", "source", "expected"), CHUNKS)
def test_the_time_in_a_chunk(tmp_path, added, source, expected, first):
    path = wav(tmp_path / "20010203_040506.wav", chunk(b"junk", b"odd"), added, first=first)
    recorded = recorded_at(path)
    assert recorded is not None and recorded.source == source
    assert text_of(path) == expected


def test_a_comment_that_libsndfile_wrote(tmp_path):
    with soundfile.SoundFile(tmp_path / "x.wav", "w", 8000, 1) as file:
        file.comment = "Recorded at 05:30:00 01/05/2024 (UTC+2) by AudioMoth 24F319046907737B at medium gain"
        file.write(np.zeros(100))
    assert text_of(tmp_path / "x.wav") == f"{MAY}+02:00"


def test_the_order_of_trust(tmp_path):
    chunks = {
        "comment": info("Recorded at 03:00:00 01/05/2024 (UTC)"),
        "wamd": wamd(b"2024-05-01 02:00:00"),
        "guano": guano("2024-05-01T01:00:00"),
    }
    expected = {"comment": 3, "wamd": 2, "guano": 1}
    path = tmp_path / "20240501_040000.wav"
    added = []
    for source, body in chunks.items():
        added.append(body)
        assert recorded_at(wav(path, *added)) == RecordingTime(recorded_at(path).start, source)
        assert recorded_at(path).start.hour == expected[source]
    assert recorded_at(wav(path)) == RecordingTime(datetime(2024, 5, 1, 4), "name")


def test_the_first_of_two_chunks_that_has_a_time(tmp_path):
    assert text_of(wav(tmp_path / "x.wav", guano("?"), guano(MAY), guano("2001-02-03T04:05:06"))) == MAY


@pytest.mark.parametrize("kind", ["RF64", "W64", "FLAC", "AIFF"])
def test_other_formats(tmp_path, kind):
    path = wav(tmp_path / "20010203_040506.x", guano(f"{MAY}Z"), format=kind)
    assert text_of(path) == (f"{MAY}Z" if kind == "RF64" else "2001-02-03T04:05:06")
    assert kind != "RF64" or path.read_bytes()[:4] == b"RF64"


def test_a_big_endian_wav(tmp_path):
    data = chunk(b"fmt ", struct.pack(">HHIIHH", 1, 1, 8000, 16000, 2, 16), order=">")
    data += chunk(b"data", bytes(301), order=">") + chunk(b"guan", f"Timestamp: {MAY}".encode(), order=">")
    (tmp_path / "x.wav").write_bytes(b"RIFX" + struct.pack(">I", 4 + len(data)) + b"WAVE" + data)
    assert text_of(tmp_path / "x.wav") == MAY


def test_samples_of_odd_size(tmp_path):
    path = wav(tmp_path / "x.wav", guano(MAY), subtype="PCM_U8")
    assert b"\x80\0guan" in path.read_bytes()
    assert text_of(path) == MAY
    unpadded = path.read_bytes().replace(b"\x80\0guan", b"\x80guan")
    path.write_bytes(unpadded)
    assert text_of(path) == MAY


def test_samples_are_not_read(tmp_path, monkeypatch):
    path = wav(tmp_path / "x.wav", guano(MAY))
    data = path.read_bytes()
    start = data.index(b"data") + 8
    read = []

    class Counting(io.FileIO):
        def read(self, size=-1):
            read.append((self.tell(), size))
            return super().read(size)

    monkeypatch.setattr(Path, "open", lambda self, mode: Counting(self, mode))
    assert text_of(path) == MAY
    assert read and all(size >= 0 and (at + size <= start or at >= start + 1002) for at, size in read)


# ---- damage ---------------------------------------------------------------------------------------------------

DAMAGED = [
    b"guan\xff",
    chunk(b"guan", b""),
    chunk(b"guan", b"Timestamp"),
    chunk(b"guan", b"Timestamp:"),
    chunk(b"guan", b"\xff\xfe\xfd: Timestamp"),
    guano("yesterday"),
    guano("2024-13-01T05:30:00"),
    guano("2024-05-01"),
    guano("2024-05-01T05:30:00 or so"),
    guano("1970-01-01T00:09:00"),
    chunk(b"guan", f"Timestamp: {MAY}".encode(), size=100),  # the end of the line may be missing
    chunk(b"guan", b"Note: " + b"x" * MAX_BYTES + f"\nTimestamp: {MAY}".encode()),
    chunk(b"guan", b"Note: " + b"x" * (MAX_BYTES - 37) + f"\nTimestamp: {MAY}+02:00\n".encode()),
    chunk(b"wamd", b""),
    chunk(b"wamd", b"\5"),
    chunk(b"wamd", entry(5, b"")),
    chunk(b"wamd", entry(5, b"\xff" * 19)),
    chunk(b"wamd", struct.pack("<HI", 5, 0xFFFFFFFF) + b"2024-05-01 05:30:00"),
    chunk(b"wamd", struct.pack("<HI", 1, 0xFFFFFFFF) + entry(5, b"2024-05-01 05:30:00")),
    chunk(b"LIST", b""),
    chunk(b"LIST", b"INF"),
    chunk(b"LIST", b"adtl" + audiomoth("")),
    info("Recorded at 05:30:00 41/05/2024 (UTC)"),
    info("Recorded at 05:30:0"),
    b"\0" * 5000,
    b"abcd\0\0\0\0" * 1000 + guano(MAY),  # MAX_CHUNKS
    b"data\xff\xff\xff\xff" + guano(MAY),
]


@pytest.mark.parametrize("added", DAMAGED)
@pytest.mark.parametrize("format", ["WAV", "RF64"])
def test_a_damaged_chunk_leaves_the_name(tmp_path, added, format):
    path = wav(tmp_path / "20010203_040506.wav", added, format=format)
    assert recorded_at(path) == RecordingTime(datetime(2001, 2, 3, 4, 5, 6), "name")


def test_a_chunk_cut_behind_its_time(tmp_path):
    body = f"Timestamp: {MAY}Z\nNote: ".encode()
    assert text_of(wav(tmp_path / "x.wav", chunk(b"guan", body, size=5000))) == f"{MAY}Z"


def test_an_offset_that_is_none(tmp_path):
    assert text_of(wav(tmp_path / "x.wav", guano(f"{MAY}+99:00"))) == MAY
    assert text_of(wav(tmp_path / "x.wav", guano(f"{MAY}+02:75"))) == MAY


def test_a_file_cut_anywhere(tmp_path):
    whole = wav(tmp_path / "x.wav", guano(f"{MAY}+02:00"), wamd(b"2024-05-01 05:30:00+02:00"), first=True).read_bytes()
    path = tmp_path / "cut.wav"
    for length in range(len(whole) - 900):
        path.write_bytes(whole[:length])
        assert text_of(path) in (None, f"{MAY}+02:00"), length
    sizes = [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f"]
    for at in range(0, 220, 2):
        for size in sizes:
            path.write_bytes(whole[:at] + size + whole[at + 4 :])
            recorded_at(path)


def test_sizes_of_64_bits(tmp_path):
    path = wav(tmp_path / "x.wav", guano(MAY), format="RF64")
    data = path.read_bytes()
    at = data.index(b"ds64") + 16  # the size of the data chunk
    assert struct.unpack_from("<Q", data, at) == (1002,)
    for size in (1 << 62, (1 << 63) - 1, (1 << 64) - 1):
        path.write_bytes(data[:at] + struct.pack("<Q", size) + data[at + 8 :])
        assert recorded_at(path) is None
    ds64 = struct.pack("<QQQI", 5 << 30, 5 << 30, 0, 0)  # no longer than the table
    path.write_bytes(b"RF64\xff\xff\xff\xffWAVE" + chunk(b"ds64", ds64) + guano(MAY) + b"data\xff\xff\xff\xff")
    assert text_of(path) == MAY


# ---- the time of a detection ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours", "seconds", "expected"),
    [
        (None, 0, "2024-12-31T23:59:58.000"),
        (None, 1.5, "2024-12-31T23:59:59.500"),
        (None, 2, "2025-01-01T00:00:00.000"),
        (0, 2.32, "2025-01-01T00:00:00.320Z"),
        (2, 1.9994, "2024-12-31T23:59:59.999+02:00"),
        (2, 1.9995, "2025-01-01T00:00:00.000+02:00"),
        (-3.5, 86400 * 365 + 2, "2026-01-01T00:00:00.000-03:30"),
        (5.75, 0.96 * 3, "2025-01-01T00:00:00.880+05:45"),
    ],
)
def test_the_time_of_a_detection(hours, seconds, expected):
    zone = None if hours is None else timezone(timedelta(hours=hours))
    recorded = RecordingTime(datetime(2024, 12, 31, 23, 59, 58, tzinfo=zone), "name")
    assert time_of(recorded, seconds) == expected
    assert datetime.fromisoformat(expected).utcoffset() == (None if hours is None else timedelta(hours=hours))
