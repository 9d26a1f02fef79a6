from sondino.corpus.clusters import fit_clusters as fit_clusters
from sondino.corpus.table import build_corpus as build_corpus
from sondino.corpus.table import open_corpus as open_corpus
from sondino.corpus.targets import compute_targets as compute_targets

__all__: list[str]
