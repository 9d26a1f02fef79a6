"""What several processes of a training must have in common, on one machine or on several."""

import os
import secrets
import socket
import time
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import gather_object

from sondino.errors import OptionError, RunError
from sondino.files import check_training_sound, disk_error, is_there, make_folder, no_such_sound
from sondino.training.accelerator import broadcast_from_main

PATIENCE = 10.0
"""Seconds that a file is looked for: a network file system shows new ones late."""


def check_shared(run: Path, audio: str | Path, accelerator: Accelerator) -> None:
    """Check that all processes see one folder of the run, and the audio; each raises an error where one does not.

    The main process writes a small file into the folder, which the others look for. Every process has to call this.

    Args:
        run: the run's folder; it is made where there are several processes.
        audio: what is trained on.
        accelerator: from `make_accelerator`.

    Raises:
        OptionError: the audio does not exist, with the hosts that lack it where there are several processes.
        RunError: a process does not find the main one's file: RUN is no folder that the machines share. Or the folder
            cannot be written.
    """
    if accelerator.num_processes == 1:
        check_training_sound(audio, run)
        return
    host = socket.gethostname()
    name, writer, failure = "", host, None
    if accelerator.is_main_process:
        try:
            name = _write(run)
        except RunError as error:
            failure = error
    name, writer, reported = broadcast_from_main((name, writer, None if failure is None else str(failure)))
    if reported is not None:
        raise failure or RunError(reported)
    seen = gather_object([(host, _finds(run / name), is_there(audio))])
    if accelerator.is_main_process:
        (run / name).unlink(missing_ok=True)
    blind = sorted({host for host, finds, _ in seen if not finds})
    if blind:
        raise RunError(
            f"{run} is not one folder for all processes: {', '.join(blind)} does not find what {writer} wrote there; "
            "name an --out in a folder that all machines share under one path, such as one of NFS"
        )
    lacking = sorted({host for host, _, exists in seen if not exists})
    if lacking:
        missing = no_such_sound(audio)
        raise OptionError(f"{missing}; on {', '.join(lacking)} it is missing" if len(lacking) < len(seen) else missing)


def _write(run: Path) -> str:
    """Put a file of a new random name into a folder; its name is its content too."""
    name = f".shared-{secrets.token_hex(16)}"
    make_folder(run)
    try:
        with (run / name).open("x") as file:
            file.write(name)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise disk_error(run / name, error) from error
    return name


def _finds(file: Path) -> bool:
    """Whether a file is there, with its name as its content, at once or some seconds later."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            if file.read_text() == file.name:
                return True
        except OSError:
            pass
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
