"""The commands of AudioSet: list its metadata, find copies on disk, choose subsets, fetch clips."""

from pathlib import Path

from cyclopts import App

from sondino.cli.app import list_skipped, show_json, show_table
from sondino.console import print_line

audioset = App(name="audioset", help="AudioSet's metadata, copies on disk, subsets, and a polite download.")


@audioset.command(name="list")
def list_metadata(
    metadata: Path,
    *,
    labels: bool = False,
    ontology: bool = False,
    node: str | None = None,
    json: bool = False,
) -> int:
    """State what AudioSet's files hold: segments, hours and labels of each set.

    Example: `sondino audioset list metadata/ --node Music`

    Args:
        metadata: folder of the segment lists, with ontology.json, class_labels_indices.csv and strong labels where
            they are wanted; or one segment list.
        labels: list every label with its segments in each set.
        ontology: show the tree of the ontology, with the segments of each node.
        node: a name or id: show the tree below it.
        json: print one JSON document in place of a table.
    """
    from sondino.tasks.audioset.metadata import read_metadata
    from sondino.tasks.audioset.tables import label_rows, ontology_lines, set_rows, strong_rows, totals

    found = read_metadata(metadata)
    if json:
        return show_json(totals(found))
    if ontology or node is not None:
        for line in ontology_lines(found, node):
            print_line(line)
        return 0
    if labels:
        return show_table(label_rows(found))
    code = show_table(set_rows(found))
    if strong := strong_rows(found):
        code = show_table(strong)
    facts = totals(found)
    print_line(f"\n{facts['segments']:,} segments of {facts['videos']:,} videos, {facts['labels']} labels")
    return code


@audioset.command
def find(
    metadata: Path, *, audio: Path, out: Path | None = None, missing: Path | None = None, quiet: bool = False
) -> int:
    """Find the clips of AudioSet in a folder, whatever they are called, and write a list of them with their labels.

    What joins them is the id of 11 characters: in names of files (the published S-SONDO code's, PANNs', audtorch's,
    audioset-download's), in tars, in the id column of Parquet files, in audio_name of HDF5 files.

    Example: `sondino audioset find metadata/ --audio /data/audioset --out audioset.csv`

    Args:
        metadata: folder of the segment lists, or one of them.
        audio: folder of the clips, searched with its subfolders.
        out: write a list (.csv or .parquet: path, id, label, split) that `corpus`, `distill` and `evaluate` take; clips
            in archives are not in it, and `sondino corpus` labels them with --audioset.
        missing: write the segments that are not there as a segment list (.csv), for `fetch`; training sets alone.
        quiet: show no progress.
    """
    from sondino.progress import show
    from sondino.tasks.audioset.copies import count_parts, find_copies, write_list
    from sondino.tasks.audioset.metadata import read_metadata
    from sondino.tasks.audioset.subsets import choose, write_segments

    with show("reading the metadata and searching", quiet=quiet):
        found = read_metadata(metadata)
        copies = find_copies(found, audio)
    present = copies.present()
    code = show_table([{name: str(value) for name, value in row.items()} for row in count_parts(found, present)])
    print_line(
        f"\n{int(present.sum()):,} of {len(present):,} segments are there: {len(copies.paths):,} as files, "
        f"{sum(copies.archives.values()):,} in {len(copies.archives):,} archives; {len(copies.unknown):,} names are "
        f"of no segment, {copies.repeated:,} clips are there more than once"
    )
    if copies.inside.any():
        print_line(f"archives get labels by `sondino corpus {audio} --audioset {metadata} --out CORPUS`")
    if missing is not None and present.all():
        print_line(f"no segment is missing: {missing} is not written")
    elif missing is not None:
        print_line(f"{write_segments(found, choose(found, among=~present), missing):,} segments: {missing}")
    if out is not None:  # last, since it is an error where all clips lie in archives
        print_line(f"{write_list(found, copies, out):,} clips: {out}")
    return list_skipped(copies.skipped) or code


@audioset.command
def subset(
    metadata: Path,
    *,
    out: Path,
    audio: Path | None = None,
    clips: int | None = None,
    per_label: int | None = None,
    node: list[str] | None = None,
    set: list[str] | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> int:
    """Choose a part of AudioSet: at random, balanced by label, or what lies under nodes of the ontology.

    Without --audio the list is one of segments in AudioSet's own form, which these commands read. With it only clips
    that are there are chosen, and the list has their paths, as that of `sondino audioset find`; where all of them lie
    in archives it is one of segments, for `sondino corpus ARCHIVES --audioset LIST`.

    Example: `sondino audioset subset metadata/ --per-label 100 --out balanced.csv`

    Args:
        metadata: folder of the segment lists, or one of them.
        out: the list (.csv, with --audio also .parquet).
        audio: folder of clips, of which those that are there are chosen.
        clips: so many, at random.
        per_label: at least so many of each label, where there are so many.
        node: a name or id of the ontology: segments with that label or one below it; may be given several times.
        set: name of a segment list, such as eval; may be given several times. Default: all but eval.
        seed: of the draws.
        quiet: show no progress.
    """
    from sondino.progress import show
    from sondino.tasks.audioset.copies import find_copies, write_list
    from sondino.tasks.audioset.metadata import read_metadata
    from sondino.tasks.audioset.subsets import check_choice, choose, write_segments

    check_choice(clips, per_label)
    with show("reading the metadata", quiet=quiet):
        found = read_metadata(metadata)
        copies = None if audio is None else find_copies(found, audio)
    packed = copies is not None and not copies.paths
    among = None if copies is None else copies.present() if packed else copies.on_their_own()
    marks = choose(found, clips, per_label, tuple(node or ()), tuple(set or ()), seed, among)
    if copies is None or packed:
        print_line(f"{write_segments(found, marks, out):,} segments: {out}")
    else:
        print_line(f"{write_list(found, copies, out, marks):,} clips: {out}")
    if packed:
        print_line(f"they lie in archives: `sondino corpus {audio} --audioset {out} --out CORPUS` takes them")
    return 0


@audioset.command
def fetch(
    segments: Path,
    *,
    out: Path,
    i_have_the_rights: bool = False,
    rate: int = 32_000,
    pause: float = 5.0,
    most: int | None = None,
    ask_again: bool = False,
    quiet: bool = False,
) -> int:
    """Fetch clips by yt-dlp, where you have the right to. Needs `pip install 'sondino[audioset]'` and ffmpeg.

    One after another, with pauses; it stops at the first demand to sign in and at too many requests. If interrupted,
    the same command resumes. Clips that are gone are remembered in gone.csv.

    Example: `sondino audioset fetch balanced.csv --out audioset/ --i-have-the-rights`

    Args:
        segments: a segment list, such as one of `subset`, or a folder of them.
        out: folder of the clips (set/first character/ID_30.000_40.000.flac), mono, 16 bits.
        i_have_the_rights: that you may fetch these clips: without it nothing is fetched.
        rate: of the clips, Hz.
        pause: seconds between requests.
        most: requests of this call. Default: no limit.
        ask_again: ask for clips again that were gone.
        quiet: show no progress.
    """
    from sondino.progress import show
    from sondino.tasks.audioset.fetch import LEGAL, check_allowed, fetch_clips
    from sondino.tasks.audioset.metadata import read_metadata

    check_allowed(i_have_the_rights)
    print_line(LEGAL, error=True)
    wanted = read_metadata(segments).segments
    with show("fetching", "clips", quiet) as progress:
        done = fetch_clips(wanted, out, i_have_the_rights, rate, pause, ask_again, most, progress=progress)
    print_line(
        f"{done.new:,} clips fetched, {done.there:,} were there, {done.gone:,} are gone, {len(done.failed):,} failed: "
        f"{out}"
    )
    if done.stopped:
        print_line(f"stopped: {done.stopped}", error=True)
    return list_skipped(done.failed, out / "skipped.csv") or int(bool(done.stopped))
