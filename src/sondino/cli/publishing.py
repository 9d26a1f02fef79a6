"""The commands push and card: a bundle to the Hugging Face Hub, and its model card there."""

from pathlib import Path

from sondino.console import print_line


def push(source: Path, repo: str, *, private: bool = False, licence: str | None = None, yes: bool = False) -> int:
    """Publish a bundle in a repository of the Hugging Face Hub, with a model card. Needs `pip install 'sondino[hub]'`.

    The card has the licence, the teachers and the scores; no path of this machine is uploaded. Needs a token that may
    write: HF_TOKEN, or `hf auth login`.

    Example: `sondino push run me/rain-and-birds --private`

    Args:
        source: a bundle, or the folder of a run.
        repo: owner/name; it is made where there is none.
        private: a repository that is made is private.
        licence: of the weights, as the hub names it: mit, apache-2.0, cc-by-nc-sa-4.0, ... Default: the teacher's.
        yes: publish although a teacher's licence is not stated, or restricts its use.
    """
    from sondino.exporters.publishing import push as publish

    address = publish(source, repo, private=private, licence=licence, yes=yes)
    print_line(address)
    print_line(f'use: sondino.load("hf:{repo}")')
    return 0


def card(source: Path, repo: str = "owner/name", *, licence: str | None = None) -> int:
    """Show the model card that push would publish, with the hub's front matter. Needs `pip install 'sondino[hub]'`.

    Example: `sondino card run me/rain-and-birds`

    Args:
        source: a bundle, the folder of a run, or a name.
        repo: owner/name, for the lines that open the model from there.
        licence: of the weights, as the hub names it: mit, apache-2.0, cc-by-nc-sa-4.0, ... Default: the teacher's.
    """
    from sondino.exporters.publishing import published_card

    print_line(published_card(source, repo, licence=licence))
    return 0
