"""The models that `load` opens by name, and published heads: their addresses, sizes, licences and known hashes."""

from dataclasses import dataclass

from sondino.text import millions


@dataclass(frozen=True)
class HubFile:
    """One file of a Hugging Face repository.

    Attributes:
        repo: owner/name.
        path: in the repository.
        revision: the commit that a name without @revision means; if the hub no longer has it, the newest of main.
        sha256: of the file; None if not known: then the hash that the hub reports is checked.
    """

    repo: str
    path: str
    revision: str
    sha256: str | None = None


DEFAULT_MODEL = "sondino-small"
"""What is opened where no model is named: it comes with the package."""


@dataclass(frozen=True)
class Published:
    """One model that has a name.

    Attributes:
        name: as `sondino.load` takes it.
        architecture: of the backbone.
        width: multiplier of its channels; None if it has none.
        parameters: of the backbone, without heads.
        dim: embedding dimension.
        sample_rate: hertz.
        teacher: what it was trained on or distilled from.
        licence: of the weights; after a semicolon that of the teacher's.
        file: on the hub; None: a release, under the same name in `WEIGHTS`.
        shipped: whether it comes with the package, as a bundle.
    """

    name: str
    architecture: str
    width: float | None
    parameters: int
    dim: int
    sample_rate: int
    teacher: str
    licence: str
    file: HubFile | None = None
    shipped: bool = False

    def facts(self) -> dict[str, object]:
        """The model for JSON."""
        return {
            "name": self.name,
            "architecture": self.architecture,
            "width": self.width,
            "parameters": self.parameters,
            "dim": self.dim,
            "sample_rate": self.sample_rate,
            "teacher": self.teacher,
            "licence": self.licence,
        }

    def row(self) -> dict[str, str]:
        """The model as a table row, by column."""
        return {
            "model": self.name,
            "architecture": self.architecture + (f", width {self.width:g}" if self.width else ""),
            "parameters": millions(self.parameters),
            "dimension": str(self.dim),
            "rate": f"{self.sample_rate} Hz",
            "teacher": self.teacher,
            "licence": self.licence,
        }


SSONDO = "mohammedali2501/ssondo"
SSONDO_COMMIT = "afc946ee816eb2287b62c7cadadd59e507996b23"

_SSONDO_HASHES = {
    "matpac_mobilenetv3.ckpt": "87cff558a9a442e97d630a79f391bce8663d31a3adcbbf0b0a8cc41cb41854fc",
}
_SSONDO_STUDENTS = (
    # architecture, parameters, dimension
    ("mobilenetv3", 2_971_664, 960),
    ("dymn", 8_643_312, 960),
    ("eres2net", 1_368_068, 1024),
)
_SSONDO_TEACHERS = (
    # name, title, licence of its weights
    ("matpac", "MATPAC++", "not stated"),
    ("m2d", "M2D", "NTT's own"),
)
_EFFICIENTAT = (
    # name, architecture, width, parameters, dimension
    ("mn04_as", "mobilenetv3", 0.4, 516_128, 384),
    ("mn05_as", "mobilenetv3", 0.5, 785_592, 480),
    ("mn10_as", "mobilenetv3", 1.0, 2_971_664, 960),
    ("mn20_as", "mobilenetv3", 2.0, 11_641_880, 1920),
    ("mn30_as", "mobilenetv3", 3.0, 25_999_120, 2880),
    ("mn40_as", "mobilenetv3", 4.0, 46_062_616, 3840),
    ("dymn04_as", "dymn", 0.4, 1_493_768, 384),
    ("dymn10_as", "dymn", 1.0, 8_643_312, 960),
    ("dymn20_as", "dymn", 2.0, 33_698_736, 1920),
)


def _on_ssondo(path: str) -> HubFile:
    return HubFile(SSONDO, path, SSONDO_COMMIT, _SSONDO_HASHES.get(path))


_ALL = (
    Published(
        name=DEFAULT_MODEL,
        architecture="mobilenetv3",
        width=0.5,
        parameters=785_592,
        dim=480,
        sample_rate=32000,
        teacher="EfficientAT mn04_as",
        licence="MIT; teacher's: MIT",
        shipped=True,
    ),
    *(
        Published(
            name=f"ssondo/{teacher}-{student}",
            architecture=student,
            width=1.0,
            parameters=parameters,
            dim=dim,
            sample_rate=32000,
            teacher=title,
            licence=f"MIT; teacher's: {licence}",
            file=_on_ssondo(f"{teacher}_{student}.ckpt"),
        )
        for teacher, title, licence in _SSONDO_TEACHERS
        for student, parameters, dim in _SSONDO_STUDENTS
    ),
    *(
        Published(
            name=f"efficientat/{name}",
            architecture=architecture,
            width=width,
            parameters=parameters,
            dim=dim,
            sample_rate=32000,
            teacher="AudioSet labels, PaSST",
            licence="MIT",
        )
        for name, architecture, width, parameters, dim in _EFFICIENTAT
    ),
    Published(
        name="cnn14",
        architecture="cnn14",
        width=1.0,
        parameters=79_673_792,
        dim=2048,
        sample_rate=32000,
        teacher="AudioSet labels",
        licence="CC BY 4.0",
    ),
    *(
        Published(
            name=name,
            architecture="ViT-B",
            width=None,
            parameters=85_500_000,
            dim=3840,
            sample_rate=16000,
            teacher="none",
            licence=licence,
        )
        for name, _, licence in _SSONDO_TEACHERS
    ),
)

PUBLISHED: dict[str, Published] = {model.name: model for model in _ALL}
"""The models by name."""


def list_models() -> list[Published]:
    """The models that `load` opens by name: the one that comes with the package, then the published ones.

    Returns:
        One record per model: name, architecture, width, parameters, embedding dimension, sample rate, teacher, licence.

    Examples:
        >>> [model.name for model in sondino.list_models()][:2]
        ['sondino-small', 'ssondo/matpac-mobilenetv3']
    """
    return list(PUBLISHED.values())


HEADS: dict[str, HubFile] = {
    name: _on_ssondo(f"heads/{name}.pth")
    for name in ("gtzan", "openmic", "nsynth", "esc50", "us8k", "magna-tag-a-tune", "fsd50k")
}
"""The published heads of ssondo/matpac-mobilenetv3 by name."""
