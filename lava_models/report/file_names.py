"""Names of files in a record: plain ones, so that none leads out of the run's folder."""

from __future__ import annotations

import re
from pathlib import Path

from hw_configs.files import UserError

FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""Of a file that a record names: plain, so that it cannot lead out of the run's folder."""


def check_file_name(name: str, where: str) -> None:
    """Raises:
        UserError: a record names a file by anything but a plain name.
    """
    if not FILE_NAME.fullmatch(name):
        raise UserError(f"{where}: {name!r}: a report names files of its own folder, by a plain "
                        "name without a path; do not trust where it came from")


def file_of(folder: Path, name: str) -> Path:
    """The file `name` of a run's folder, which may not be there.

    Raises:
        UserError: the name, or a link of that name, leads out of the folder.
    """
    check_file_name(name, str(folder))
    file = folder / name
    if file.resolve().parent != folder.resolve():
        raise UserError(f"{file}: a link that leads out of the run's folder; copy the file there")
    return file
