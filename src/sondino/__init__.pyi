from sondino.benchmark.bench import bench as bench
from sondino.distillation.distill import distill as distill
from sondino.embedding.classify import classify_files as classify_files
from sondino.embedding.files import embed_files as embed_files
from sondino.embedding.similar import find_similar as find_similar
from sondino.embedding.streams import embed_stream as embed_stream
from sondino.encoder.check import check_encoder as check_encoder
from sondino.encoder.encoder import Encoder as Encoder
from sondino.errors import SondinoError as SondinoError
from sondino.evaluation.compare import compare as compare
from sondino.evaluation.evaluate import evaluate as evaluate
from sondino.exporters.export import export as export
from sondino.exporters.quantize import quantize as quantize
from sondino.finetuning.finetune import finetune as finetune
from sondino.finetuning.linear_head import probe as probe
from sondino.hub.catalogue import list_models as list_models
from sondino.model.model import Model as Model
from sondino.nets.registry import list_students as list_students
from sondino.pretrained.convert import convert as convert
from sondino.pretrained.load import load as load
from sondino.pruning.prune import prune as prune
from sondino.reporting.report import report as report
from sondino.tasks.registry import list_tasks as list_tasks
from sondino.teachers import list_teachers as list_teachers
from sondino.teachers import load_teacher as load_teacher
from sondino.version import __version__ as __version__

__all__: list[str]
