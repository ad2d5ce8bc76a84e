"""Imports a built collection as Galaxy does: `_galaxy_import.py ARCHIVE`.  Prints each warning, and ends with 1 for any.

galaxy-importer runs ansible-lint with some rules and folders left out, and gives up on it after 180 s, which says more about
the machine than about the collection.  Here it runs with all of them and to its end, so the checkout needs no run of its own.
"""

from __future__ import annotations

import logging
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

from galaxy_importer import collection, config
from galaxy_importer.loaders import collection as loader

LEFT_OUT = ("-x", "--exclude")


class Whole(subprocess.Popen):
    """What the importer starts for ansible-lint."""

    def __init__(self, command: list[str], **options: Any) -> None:
        if "ansible-lint" in command:
            command = [
                word
                for before, word in zip([""] + command, command)
                if word not in LEFT_OUT and before not in LEFT_OUT
            ]
        super().__init__(command, **options)

    def communicate(self, input: object = None, timeout: float | None = None) -> tuple:
        return super().communicate(input)


class Count(logging.Handler):
    """Prints what is a warning or worse."""

    found = 0

    def emit(self, record: logging.LogRecord) -> None:
        Count.found += 1
        print(f"{record.levelname}: {record.getMessage()}")


def main() -> int:
    archive = pathlib.Path(sys.argv[1])
    # Galaxy has none of ours.
    os.environ.pop("ANSIBLE_CONFIG", None)
    if loader.Popen is not subprocess.Popen:
        print("This galaxy-importer starts ansible-lint in another way: look into it, and mend tools/_galaxy_import.py.")
        return 1
    loader.Popen = Whole
    logger = logging.getLogger("galaxy-importer")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(Count(logging.WARNING))
    namespace, name, version = archive.name.removesuffix(".tar.gz").split("-", 2)
    # Not below the checkout, whose .gitignore and configuration files would be found from there.
    with tempfile.TemporaryDirectory(prefix="galaxy-import-") as folder, archive.open("rb") as source:
        collection.import_collection(
            source, collection.CollectionFilename(namespace, name, version), logger=logger,
            cfg=config.Config({"ansible_local_tmp": os.path.join(folder, "ansible"), "tmp_root_dir": folder}))
    return 1 if Count.found else 0


if __name__ == "__main__":
    sys.exit(main())
