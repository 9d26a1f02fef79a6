"""One sound in every container and codec that PyAV and libsndfile write, and a few with edited headers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Writer = Callable[[Path, Samples, int], None]

SECONDS = 5.37  # no whole number of packets; Matroska of under 5 s has one cluster, which hides faults of seeking


@dataclass(frozen=True)
class Form:
    """A kind of file.

    Attributes:
        name: of the file.
        container, codec: in words.
        write: (file, samples, rate) writes it.
        rate: hertz.
        cosine: what it is at least, decoded, to the samples that were written; 1 = lossless to 16 bits.
        padded: nothing in the file says where its sound begins and ends within the packets.
        early: samples at the beginning that its packets do not hold.
    """

    name: str
    container: str
    codec: str
    write: Writer
    rate: int = 44100
    cosine: float = 1.0
    padded: bool = False
    early: int = 0


def noise(rate: int, seconds: float = SECONDS) -> Samples:
    """Noise between 100 Hz and 0.4 of the band, its level going up and down at a pace that changes (samples,)."""
    rng = np.random.default_rng(rate)
    size = round(seconds * rate)
    spectrum = np.fft.rfft(rng.standard_normal(size))
    hertz = np.fft.rfftfreq(size, 1 / rate)
    x = np.fft.irfft(spectrum * ((hertz > 100) & (hertz < min(7000, 0.2 * rate))), size)
    t = np.arange(size) / rate
    x *= 0.6 + 0.4 * np.sin(2 * np.pi * (1.3 * t + 0.4 * t**2))
    return np.ascontiguousarray(0.6 * x / np.abs(x).max(), np.float32)


# ---- writers --------------------------------------------------------------------------------------------------


def sndfile(form: str, subtype: str) -> Writer:
    """A writer of libsndfile."""
    return lambda path, x, rate: soundfile.write(path, x, rate, format=form, subtype=subtype)


def pyav(
    codec: str,
    form: str | None = None,
    *,
    picture: bool = False,
    bits: int | None = None,
    samples: str | None = None,
    **options: str,
) -> Writer:
    """A writer of PyAV; `picture` writes a video before the sound, `bits` are those per second, `samples` a format."""
    return partial(_pyav, codec=codec, form=form, picture=picture, bits=bits, samples=samples, options=options)


def _pyav(
    path: Path,
    x: Samples,
    rate: int,
    *,
    codec: str,
    form: str | None,
    picture: bool,
    bits: int | None,
    samples: str | None,
    options: dict[str, str],
) -> None:
    import av

    with av.open(str(path), "w", format=form, options=options) as output:
        video: Any = output.add_stream("mpeg4", rate=25, width=64, height=48, pix_fmt="yuv420p") if picture else None
        track: Any = output.add_stream(codec, rate=rate, layout="mono")
        if bits:
            track.bit_rate = bits
        if samples:
            track.format = samples
        packets: list[Any] = []
        if video:
            for level in range(round(len(x) / rate * 25)):
                image = np.full((48, 64, 3), level % 256, np.uint8)
                packets += video.encode(av.VideoFrame.from_ndarray(image, format="rgb24"))
            packets += video.encode(None)
        for at in range(0, len(x), 1024):
            frame = av.AudioFrame.from_ndarray(x[None, at : at + 1024].copy(), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, at
            packets += track.encode(frame)
        packets += track.encode(None)
        for packet in packets:
            output.mux(packet)


def remuxed(write: Writer, form: str) -> Writer:
    """A writer of PyAV of the packets that another one writes."""

    def written(path: Path, x: Samples, rate: int) -> None:
        import av

        first = path.with_name(f"{path.name}.first")
        write(first, x, rate)
        with av.open(str(first)) as source, av.open(str(path), "w", format=form) as output:
            track: Any = output.add_stream_from_template(source.streams.audio[0])
            for packet in source.demux(audio=0):
                if packet.dts is not None:
                    packet.stream = track
                    output.mux(packet)
        first.unlink()

    return written


def edited(write: Writer, change: Callable[[bytes], bytes]) -> Writer:
    """A writer whose file is changed afterwards."""

    def written(path: Path, x: Samples, rate: int) -> None:
        write(path, x, rate)
        path.write_bytes(change(path.read_bytes()))

    return written


def doubled(write: Writer) -> Writer:
    """A writer of two files, one for each half of the samples, put together with `cat`."""

    def written(path: Path, x: Samples, rate: int) -> None:
        halves = []
        for half in (x[: len(x) // 2], x[len(x) // 2 :]):
            write(path, half, rate)
            halves.append(path.read_bytes())
        path.write_bytes(b"".join(halves))

    return written


def sized(size: int) -> Callable[[bytes], bytes]:
    """Another data size in a plain WAV."""
    return lambda content: content[:40] + size.to_bytes(4, "little") + content[44:]


WAV = sndfile("WAV", "PCM_16")
AAC = partial(pyav, "aac", bits=192000)
FRAGMENTED = AAC(movflags="frag_keyframe+empty_moov")
MP3 = partial(pyav, "libmp3lame", bits=192000)
OPUS = partial(pyav, "libopus", bits=128000)
AMR = pyav("libopencore_amrnb", bits=12200)
RF64 = sndfile("RF64", "PCM_16")

# fmt: off
FORMS: tuple[Form, ...] = (
    Form("u8.wav", "WAV", "PCM 8-bit", sndfile("WAV", "PCM_U8"), cosine=0.998),
    Form("s16.wav", "WAV", "PCM 16-bit", WAV),
    Form("s24.wav", "WAV", "PCM 24-bit", sndfile("WAV", "PCM_24")),
    Form("s32.wav", "WAV", "PCM 32-bit", sndfile("WAV", "PCM_32")),
    Form("f32.wav", "WAV", "float 32-bit", sndfile("WAV", "FLOAT")),
    Form("f64.wav", "WAV", "float 64-bit", sndfile("WAV", "DOUBLE")),
    Form("extensible.wav", "WAV, extensible", "PCM 24-bit", sndfile("WAVEX", "PCM_24")),
    Form("never_finished.wav", "WAV, size 0", "PCM 16-bit", edited(WAV, sized(0))),
    Form("streamed.wav", "WAV, size open", "PCM 16-bit", edited(WAV, sized(0xFFFFFFFF))),
    Form("too_small.wav", "WAV, size too small", "PCM 16-bit", edited(WAV, sized(100000))),
    Form("appended.wav", "WAV, two in one", "PCM 16-bit", doubled(WAV)),
    Form("rf64.wav", "RF64", "PCM 16-bit", RF64),
    Form("bw64.wav", "BW64", "PCM 16-bit", edited(RF64, lambda content: b"BW64" + content[4:])),
    Form("alaw.wav", "WAV", "A-law", sndfile("WAV", "ALAW"), 8000, 0.99),
    Form("ulaw.wav", "WAV", "mu-law", sndfile("WAV", "ULAW"), 8000, 0.99),
    Form("ima.wav", "WAV", "IMA ADPCM", sndfile("WAV", "IMA_ADPCM"), 8000, 0.9, padded=True),
    Form("ms.wav", "WAV", "MS ADPCM", sndfile("WAV", "MS_ADPCM"), 8000, 0.9, padded=True),
    Form("gsm.wav", "WAV", "GSM 6.10", sndfile("WAV", "GSM610"), 8000, 0.6, padded=True),
    Form("g722.wav", "WAV", "G.722", pyav("g722"), 16000, 0.9, padded=True),
    Form("mp3.wav", "WAV", "MP3", MP3(), cosine=0.999, padded=True),
    Form("s16.w64", "W64", "PCM 16-bit", sndfile("W64", "PCM_16")),
    Form("s16.nist", "NIST SPHERE", "PCM 16-bit", sndfile("NIST", "PCM_16")),
    Form("s16.voc", "VOC", "PCM 16-bit", sndfile("VOC", "PCM_16")),
    Form("s16.aiff", "AIFF", "PCM 16-bit", sndfile("AIFF", "PCM_16")),
    Form("f32.aifc", "AIFC", "float 32-bit", sndfile("AIFF", "FLOAT")),
    Form("s16.au", "AU", "PCM 16-bit", sndfile("AU", "PCM_16")),
    Form("g721.au", "AU", "G.721", sndfile("AU", "G721_32"), 8000, 0.9, padded=True),
    Form("g723.au", "AU", "G.723, 24 kbit/s", sndfile("AU", "G723_24"), 8000, 0.9, padded=True),
    Form("s16.caf", "CAF", "PCM 16-bit", sndfile("CAF", "PCM_16")),
    Form("alac.caf", "CAF", "ALAC", sndfile("CAF", "ALAC_16")),
    Form("plain.flac", "FLAC", "FLAC", sndfile("FLAC", "PCM_16")),
    Form("appended.flac", "FLAC, two in one", "FLAC", doubled(sndfile("FLAC", "PCM_16"))),
    Form("flac.oga", "Ogg", "FLAC", pyav("flac", "ogg")),
    Form("vorbis.ogg", "Ogg", "Vorbis", sndfile("OGG", "VORBIS"), cosine=0.9),
    Form("chained.ogg", "Ogg, chained", "Vorbis", doubled(sndfile("OGG", "VORBIS")), cosine=0.9),
    Form("opus.opus", "Ogg", "Opus", OPUS("ogg"), 48000, 0.9),
    Form("chained.opus", "Ogg, chained", "Opus", doubled(OPUS("ogg")), 48000, 0.9),
    Form("cbr.mp3", "MP3", "MP3, constant bit rate", MP3(), cosine=0.999),
    Form("vbr.mp3", "MP3", "MP3, variable bit rate", sndfile("MP3", "MPEG_LAYER_III"), cosine=0.9),
    Form("untagged.mp3", "MP3", "MP3, no header", MP3(write_xing="0"), cosine=0.999, padded=True),
    Form("layer2.mp2", "MP2", "MPEG layer II", pyav("mp2", bits=192000), cosine=0.999, padded=True),
    Form("adts.aac", "ADTS", "AAC", AAC("adts"), cosine=0.999, padded=True),
    Form("ac3.ac3", "AC-3", "AC-3", pyav("ac3", bits=192000), cosine=0.999, padded=True),
    Form("eac3.eac3", "E-AC-3", "E-AC-3", pyav("eac3", bits=192000), cosine=0.999, padded=True),
    Form("aac.m4a", "MP4", "AAC", AAC("ipod"), cosine=0.999),
    Form("alac.m4a", "MP4", "ALAC", pyav("alac", "ipod")),
    Form("opus.mp4", "MP4", "Opus", OPUS(), 48000, 0.9),
    Form("flac.mp4", "MP4", "FLAC", pyav("flac", strict="experimental")),
    Form("video.mp4", "MP4, video first", "AAC", AAC(picture=True), cosine=0.999),
    Form("fragmented.mp4", "MP4, fragmented", "AAC", FRAGMENTED, cosine=0.999, padded=True),
    Form("aac.mov", "QuickTime", "AAC", AAC(), cosine=0.999),
    Form("s16.mov", "QuickTime", "PCM 16-bit", pyav("pcm_s16le")),
    Form("aac.3gp", "3GP", "AAC", AAC(), cosine=0.999),
    Form("amr.3gp", "3GP", "AMR", AMR, 8000, 0.6, padded=True, early=10),
    Form("amr.amr", "AMR", "AMR", AMR, 8000, 0.6, padded=True),
    Form("opus.webm", "WebM", "Opus", OPUS(), 48000, 0.9),
    Form("vorbis.webm", "WebM", "Vorbis", remuxed(sndfile("OGG", "VORBIS"), "webm"), cosine=0.9, padded=True),
    Form("aac.mka", "Matroska", "AAC", AAC("matroska"), cosine=0.999, padded=True),
    Form("flac.mka", "Matroska", "FLAC", pyav("flac", "matroska")),
    Form("s16.mkv", "Matroska", "PCM 16-bit", pyav("pcm_s16le", "matroska")),
    Form("mp3.mkv", "Matroska", "MP3", MP3("matroska"), cosine=0.999, padded=True),
    Form("wma.wma", "ASF", "WMA 2", pyav("wmav2", "asf", bits=192000), cosine=0.999, padded=True, early=2048),
    Form("s16.avi", "AVI", "PCM 16-bit", pyav("pcm_s16le", picture=True)),
    Form("aac.ts", "MPEG-TS", "AAC", AAC("mpegts"), cosine=0.999, padded=True),
    Form("wavpack.wv", "WavPack", "WavPack", pyav("wavpack", samples="s16p")),
    Form("tta.tta", "TTA", "TTA", pyav("tta", samples="s16")),
)
# fmt: on
