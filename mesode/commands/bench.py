"""`mesode bench`: how fast and how true, as a table and one JSON file."""

import pathlib

from mesode import process
from mesode.process import log


def bench(options) -> dict:
    """Runs the named suites of benchmarks, or all."""
    output = pathlib.Path(options.output or "mesode_bench.json")
    if output.suffix.lower() != ".json":
        raise ValueError(f"Output `{output}` must have the extension `.json`.")
    if not output.parent.is_dir():
        raise ValueError(f"Folder `{output.parent}` for the output `{output.name}` does not exist.")
    process.configure(options.device)
    from benchmarks import harness

    def keep(name, record):
        harness.write(record, output)
        case = record["cases"][-1].get("problem", "a case")
        log(f"suite {name}: {case} done", quiet=options.quiet)

    record = harness.run(options.suite, done=keep)
    if not options.json:
        print(harness.table(record))
        log(f"written to {output}", quiet=options.quiet)
    return record
