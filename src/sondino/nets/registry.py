"""The students: small nets from a log-mel to an embedding, by name and width. No torch until one is built."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sondino.errors import OptionError, require, unknown_name
from sondino.frontend.logmel import RATES, at_rate, with_hop
from sondino.text import millions

if TYPE_CHECKING:
    from sondino.nets.student import Student


@dataclass(frozen=True)
class StudentRecord:
    """What is known of a student without building it; counts are those of width 1.

    Attributes:
        name: as `--student` takes it.
        title: what it is, in a few words.
        widths: those that were published or are tested; any other above 0 works too.
        dim: embedding dimension.
        parameters: of the backbone, without the mapping head.
        macs: multiply-adds for 10 s of audio, as published.
        sample_rate: of its input waveforms as published, in hertz; `RATES` are those that it can be trained at.
        paper: where it was described.
        licence: of the architecture's published code; ours is written anew and MIT.
        init: published weights that `--init` can start from; empty where there are none.
    """

    name: str
    title: str
    widths: tuple[float, ...]
    dim: int
    parameters: int
    macs: float
    sample_rate: int
    paper: str
    licence: str
    init: str = ""

    def row(self) -> dict[str, str]:
        """The record as one line of a table, by column."""
        return {
            "student": self.name,
            "widths": ", ".join(f"{width:g}" for width in self.widths),
            "parameters": millions(self.parameters),
            "MACs / 10 s": f"{self.macs / 1e9:.2f} G",
            "default rate": f"{self.sample_rate} Hz",
            "dim": str(self.dim),
            "licence": self.licence,
            "arXiv": self.paper.removeprefix("arXiv "),
        }


STUDENTS: dict[str, StudentRecord] = {
    record.name: record
    for record in (
        StudentRecord(
            name="mobilenetv3",
            title="MobileNetV3-Large for spectrograms, squeeze-excite on channels",
            widths=(0.4, 0.5, 1.0, 2.0, 3.0, 4.0),
            dim=960,
            parameters=2_971_664,
            macs=0.34e9,
            sample_rate=32000,
            paper="arXiv 2211.04772",
            licence="MIT",
            init="EfficientAT mn{04,05,10,20,30,40}_im.pt",
        ),
        StudentRecord(
            name="dymn",
            title="MobileNetV3 with dynamic convolutions, dynamic ReLU and coordinate attention",
            widths=(0.4, 1.0, 2.0),
            dim=960,
            parameters=8_643_312,
            macs=0.36e9,
            sample_rate=32000,
            paper="arXiv 2310.15648",
            licence="MIT",
            init="EfficientAT dymn{04,10,20}_im.pt",
        ),
        StudentRecord(
            name="eres2net",
            title="Res2Net with local and global attentive feature fusion, statistics pooling",
            widths=(0.5, 1.0, 2.0),
            dim=1024,
            parameters=1_368_068,
            macs=4.26e9,
            sample_rate=32000,
            paper="arXiv 2305.12838",
            licence="Apache-2.0",
        ),
        StudentRecord(
            name="cnn14",
            title="CNN14 of PANNs, twelve 3x3 convolutions",
            widths=(0.125, 0.25, 0.5, 1.0),
            dim=2048,
            parameters=79_673_792,
            macs=20.04e9,
            sample_rate=32000,
            paper="arXiv 1912.10211",
            licence="MIT",
            init="Cnn14_mAP=0.431.pth",
        ),
        StudentRecord(
            name="qcnn14",
            title="CNN14 of quaternion convolutions",
            widths=(0.125, 0.25, 0.5, 1.0),
            dim=2048,
            parameters=19_932_608,
            macs=20.15e9,
            sample_rate=32000,
            paper="arXiv 2510.21388",
            licence="MIT",
        ),
    )
}
"""Every student by name."""


def list_students() -> list[StudentRecord]:
    """The student architectures that `distill` can train.

    Returns:
        One record per architecture: name, widths, embedding dimension, parameters, MACs, sample rate, licence.

    Examples:
        >>> [student.name for student in sondino.list_students()]
        ['mobilenetv3', 'dymn', 'eres2net', 'cnn14', 'qcnn14']
    """
    return list(STUDENTS.values())


def build_student(
    name: str,
    width: float = 1.0,
    *,
    rate: int | None = None,
    hop: float | None = None,
    temperature: float = 30.0,
    quaternion: Literal["derivatives", "learned"] | None = None,
    channels: Mapping[str, Sequence[int]] | None = None,
) -> "Student":
    """A randomly initialised student.

    Args:
        name: one of `STUDENTS`.
        width: multiplies the channels of every layer; channels are rounded to multiples of 8.
        rate: of its waveforms, in hertz, one of `RATES`. None: as published, 32000.
        hop: seconds from one frame of its log-mel to the next, at most the window. None: as published.
        temperature: of DyMN's mix of kernels: 30 as the published students have it, 1 after EfficientAT's training.
        quaternion: build its quaternion form, and where the imaginary parts of the log-mel come from: its derivatives
            in time, or a learned convolution. None: the real net; of qcnn14, which is cnn14's, "derivatives".
        channels: of each layer of a pruned net, how many it gives and takes.

    Returns:
        A module from log-mels (batch, n_mels, frames) to embeddings (batch, dim), with `name`, `width`, `dim`,
        `logmel` and `minimum_frames`.

    Raises:
        OptionError: for an unknown name, a width outside 0.1 to 8, another rate, or a hop over the window.
        ValueError: for channels that are not the student's.
        MissingExtra: when torch is not installed.
    """
    if name not in STUDENTS:
        raise unknown_name("student", name, STUDENTS)
    if not 0.1 <= width <= 8:
        raise OptionError(f"width {width:g} is out of range: choose one between 0.1 and 8, 1 is the published net")
    check_student_rate(rate)
    require("torch", "train")
    student = _real_student("cnn14" if name == "qcnn14" else name, width, temperature)
    student.name = name
    if rate is not None:
        student.logmel = at_rate(student.logmel, rate)
    if hop is not None:
        try:
            student.logmel = with_hop(student.logmel, hop)
        except ValueError as error:
            raise OptionError(str(error)) from error
    if quaternion or name == "qcnn14":
        from sondino.nets.quaternion import quaternion_form

        student = quaternion_form(student, quaternion or "derivatives")
    if channels:
        from sondino.nets.channels import shrink

        shrink(student, channels)
    return student


def check_student_rate(rate: int | None) -> None:
    """Raise OptionError for a sample rate that is none of `RATES`; None passes."""
    if rate is not None and rate not in RATES:
        *most, last = RATES
        raise OptionError(f"rate is {rate}: give {', '.join(map(str, most))} or {last}, in Hz")


def _real_student(name: str, width: float, temperature: float) -> "Student":
    if name == "mobilenetv3":
        from sondino.nets.mobilenetv3 import MobileNetV3

        return MobileNetV3(width)
    if name == "dymn":
        from sondino.nets.dymn import DyMN

        return DyMN(width, temperature)
    if name == "cnn14":
        from sondino.nets.cnn14 import CNN14

        return CNN14(width)
    if name == "eres2net":
        from sondino.nets.eres2net import ERes2Net

        return ERes2Net(width)
    raise ValueError(f"student {name} has a record and no net here")  # a fault of ours, not of the user
