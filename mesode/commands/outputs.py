"""Where commands write: checked before the work begins."""

import pathlib

CSV, FIGURE = (".csv",), (".png", ".pdf", ".svg")  # endings of what a command writes


def check_outputs(options, endings: dict[str, tuple[str, ...]]) -> None:
    """Refuses an output file of another ending than its option takes, or in a folder that is not there."""
    for name, allowed in endings.items():
        path = getattr(options, name)
        if path is None:
            continue
        path = pathlib.Path(path)
        if path.suffix.lower() not in allowed:
            raise ValueError(f"`--{name}` must end in {' or '.join(allowed)}, but `{path}` was given.")
        if not path.parent.is_dir():
            raise ValueError(f"Folder `{path.parent}` for `--{name} {path.name}` does not exist.")
