"""The `mesode` command: parses, configures the process, calls one command, and turns what happened into an exit code.

Nothing heavy is imported here, so that `mesode --help` is instant; each command imports what it needs.
"""

import argparse
import contextlib
import importlib
import json
import os
import pathlib
import sys

EXIT_DONE, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_STOPPED = 0, 1, 2, 3
_CODES = "exit codes: 0 done, 1 failed, 2 bad input, 3 stopped and resumable with --resume"
_CELLS = "Marquis2019, Chen2020, Xu2019 (a half-cell), a BPX file (.json) or a run file (.h5)"
_OURS = ("mesode", "microstructure", "solver", "inverse", "benchmarks")


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    try:
        options = build_parser().parse_args(argv)
    except SystemExit as error:  # argparse has said what is wrong
        return int(error.code or 0)
    if not getattr(options, "command", None):
        build_parser().print_help(sys.stderr)
        return EXIT_BAD_INPUT
    return _guarded(options)


def _guarded(options) -> int:
    with contextlib.ExitStack() as stack:
        try:
            if hasattr(options, "resume"):  # from the very start, or an early signal would end the process
                from mesode.process import StopWatch, parse_walltime

                limit = None if options.max_walltime is None else parse_walltime(options.max_walltime)
                options.watch = stack.enter_context(StopWatch(limit))
            return _call(options)
        except Exception as error:
            if options.debug:
                raise
            code, messages = explain(error)
            return _report(options, messages, code)
        except KeyboardInterrupt:
            return _report(options, ["Interrupted; what was saved before is kept."], EXIT_STOPPED)


def _call(options) -> int:
    module, name = options.function.split(":")
    result = getattr(importlib.import_module(f"mesode.commands.{module}"), name)(options)
    code = EXIT_DONE
    if isinstance(result, tuple):
        result, code = result
    if options.json and result is not None:
        print(json.dumps(jsonable(result), allow_nan=False))
    return code


def _report(options, messages: list[str], code: int) -> int:
    for message in messages:
        print(f"mesode {options.command}: {message}", file=sys.stderr)
    if options.json:
        print(json.dumps({"error": messages, "exit_code": code}))
    return code


def explain(error: Exception) -> tuple[int, list[str]]:
    """The exit code and the sentences for an error: the user's own mistakes, a stop, or a defect of the program."""
    from mesode.process import Stop

    if isinstance(error, Stop):
        return EXIT_STOPPED, [str(error)]
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED, []
    text = str(error)
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        return EXIT_BAD_INPUT, ["The job does not fit into memory; use fewer voxels or particles, or a larger machine."]
    if type(error).__name__ == "SolveError":
        code = EXIT_BAD_INPUT if "infinite" in text or "reach" in text else EXIT_FAILED
        return code, [text]
    if isinstance(error, ValueError) and _raised_by_us(error):
        return EXIT_BAD_INPUT, [line for line in text.splitlines() if line.strip()]
    if isinstance(error, PermissionError | IsADirectoryError | FileNotFoundError) and error.filename:
        return EXIT_BAD_INPUT, [f"`{error.filename}`: {error.strerror}."]
    if isinstance(error, OSError) and error.errno == 28:
        return EXIT_FAILED, ["No space is left on the disk; nothing partial was kept."]
    first = (text.splitlines() or [""])[0]
    return EXIT_FAILED, [f"Failed unexpectedly ({type(error).__name__}: {first}); --debug shows where."]


def _raised_by_us(error: Exception) -> bool:
    """Whether the sentence was written here: a `ValueError` out of a library is a defect, not a user's mistake."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = "" if trace is None else trace.tb_frame.f_globals.get("__name__", "")
    return module.split(".")[0] in _OURS


def jsonable(value):
    """The value in JSON's own types; infinite numbers become "inf", undefined ones null."""
    if isinstance(value, dict):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(v) for v in value]
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    if isinstance(value, pathlib.Path):
        return str(value)
    return value


def build_parser() -> argparse.ArgumentParser:
    """The parser with every subcommand."""
    parser = argparse.ArgumentParser(
        prog="mesode",
        description="From how a lithium-ion electrode is made to what the cell does, and back.",
        epilog=_CODES,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for add in (_add_jobs, _add_resolve, _add_images, _add_cells, _add_files):
        add(commands)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser, *_):
        import importlib.metadata  # costs a sixth of the time that `--help` may take

        print(f"mesode {importlib.metadata.version('mesode')}")
        parser.exit()


def _command(commands, name: str, function: str, doc: str, example: str, *, computes: bool = True):
    sub = commands.add_parser(
        name,
        help=doc,
        description=doc[0].upper() + doc[1:] + ".",
        epilog=f"example:\n  {example}\n\n{_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.set_defaults(function=function)
    sub.add_argument("--json", action="store_true", help="print one JSON object on standard output and nothing else")
    sub.add_argument("--quiet", action="store_true", help="no progress on standard error")
    sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
    if computes:
        sub.add_argument("--device", choices=("auto", "cpu", "gpu"), default="auto", help="where to compute")
    return sub


def _job_options(sub, *, output: str | None = None) -> None:
    sub.add_argument("job", nargs="?", metavar="JOB.toml", help="job file; without one, the built-in example")
    sub.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override a key (repeatable)"
    )
    sub.add_argument("--seed", type=int, help="seed of the first realisation")
    if output is not None:
        _run_options(sub, output)


def _run_options(sub, output: str) -> None:
    sub.add_argument("--output", metavar="RUN.h5", help=f"run file to write (default: {output})")
    sub.add_argument("--max-walltime", metavar="TIME", help="save and stop after seconds or hours:minutes:seconds")
    sub.add_argument("--resume", action="store_true", help="go on from the checkpoint beside the output")


def _add_jobs(commands) -> None:
    run = _command(
        commands,
        "run",
        "jobs:run",
        "recipe or image to the figures of the cell",
        "mesode run my_job.toml --set calendering.gap_um=42",
    )
    _job_options(run, output="mesode_run.h5")
    check = _command(
        commands,
        "check",
        "jobs:check",
        "validate a job and predict its memory, run nothing",
        "mesode check my_job.toml",
        computes=False,
    )
    _job_options(check)
    check.add_argument("--keys", action="store_true", help="print the table of all keys instead")
    generate = _command(
        commands,
        "generate",
        "generate:generate",
        "pack the particles of a recipe, as the dried film holds them",
        "mesode generate my_job.toml --set grid.particles=5000 --output packing.h5",
    )
    _job_options(generate)
    generate.add_argument("--output", metavar="FILE.h5", help="packing file to write (default: mesode_packing.h5)")
    calender = _command(
        commands,
        "calender",
        "calender:calender",
        "press the film of a recipe to the gap and let go",
        "mesode calender my_job.toml --set calendering.friction=0.3 --set calendering.gap_um=42",
    )
    _job_options(calender, output="mesode_calendered.h5")
    gradient = _command(
        commands,
        "gradient",
        "optimise:gradient",
        "value and gradient of the job's objective, packing and contacts held, with how far each slope holds",
        "mesode gradient my_job.toml --json",
    )
    _job_options(gradient, output="not written unless given")
    design = _command(
        commands,
        "design",
        "optimise:design",
        "follow the gradient to a better recipe",
        "mesode design my_job.toml --resume",
    )
    _job_options(design, output="mesode_design.h5")
    design.add_argument(
        "--problem", metavar="NAME", help="a problem of the gallery instead of a job; `list` names them"
    )
    fit = _command(
        commands,
        "fit",
        "fit:fit",
        "parameters of a cell from measured discharges, with intervals",
        "mesode fit examples/fit.toml --json",
    )
    fit.add_argument("job", metavar="JOB.toml", help="job file: cell, curves, free parameters with bounds")
    _run_options(fit, "mesode_fit.h5")


def _add_resolve(commands) -> None:
    sub = _command(
        commands,
        "resolve",
        "resolve:resolve",
        "discharges of a half-cell on the voxels of its electrode",
        "mesode resolve examples/resolve.toml --set cell.c_rates=[0.5,2]",
    )
    sub.add_argument("job", nargs="?", metavar="JOB.toml", help="job file: structure, phases, cell, rates")
    sub.add_argument("--keys", action="store_true", help="print the table of all keys instead")
    sub.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="override a key (repeatable)"
    )
    _run_options(sub, "mesode_resolve.h5")


def _image_options(sub) -> None:
    sub.add_argument("image", metavar="IMAGE", help=".tif, .npy or .h5 label volume, axis 0 is the thickness (x)")
    sub.add_argument("--dataset", help="dataset inside an HDF5 image")
    sub.add_argument("--voxel-size-um", type=float, metavar="UM", help="voxel edge, if the file does not say")


def _add_images(commands) -> None:
    transport = _command(
        commands,
        "transport",
        "transport:transport",
        "effective transport and tortuosity factor of an image",
        "mesode transport electrode.tif --phase 0 --axis x --voxel-size-um 0.4",
    )
    _image_options(transport)
    transport.add_argument("--phase", type=int, action="append", metavar="LABEL", help="conducting label (default: 0)")
    transport.add_argument(
        "--conductivity",
        action="append",
        metavar="LABEL=VALUE",
        help="several labels that conduct together (repeatable), instead of --phase",
    )
    transport.add_argument("--axis", choices=("x", "y", "z", "all"), default="all", help="x is the first array axis")
    transport.add_argument("--tolerance", type=float, default=5e-5, help="relative error of the tortuosity factor")
    transport.add_argument("--float64", action="store_true", help="double precision throughout")
    transport.add_argument("--sides", choices=("no-flux", "periodic"), default="no-flux", help="sides across the flux")
    transport.add_argument(
        "--convention",
        choices=("mesode", "taufactor", "porespy", "openimpala"),
        default="mesode",
        help="whose tortuosity factor: where the plates are, which volume fraction and length count",
    )
    transport.add_argument("--tensor", action="store_true", help="also the 3 x 3 tensor with all sides periodic")
    transport.add_argument(
        "--electrode", action="store_true", help="also the electrode tortuosity factor, separator at the far end of x"
    )
    transport.add_argument(
        "--output", metavar="FILE.h5", help="also write potentials, fluxes and a report with figures"
    )
    measure = _command(
        commands,
        "measure",
        "images:measure",
        "descriptors of a voxel image",
        "mesode measure electrode.tif --voxel-size-um 0.4",
    )
    _image_options(measure)


def _add_cells(commands) -> None:
    for name, doc in (
        ("discharge", "constant-current discharge of a cell"),
        ("charge", "constant-current charge of a cell"),
    ):
        sub = _command(commands, name, f"cells:{name}", doc, f"mesode {name} Chen2020 --c-rate 1 --json")
        sub.add_argument("cell", metavar="CELL", help=_CELLS)
        sub.add_argument("--c-rate", type=float, default=1.0, help="multiple of the nominal capacity per hour")
        sub.add_argument(
            "--model",
            choices=("dfn", "spme", "spm"),
            default="dfn",
            help="porous electrodes, or single particles with or without electrolyte (default: dfn)",
        )
        sub.add_argument("--thermal", action="store_true", help="with the lumped thermal model")
        sub.add_argument("--csv", metavar="FILE.csv", help="also write the curve in the Battery Data Format")
    _add_cycle(commands)
    sub = _command(
        commands,
        "impedance",
        "impedance:impedance",
        "impedance spectrum of a cell at rest",
        "mesode impedance Chen2020 --soc 0.5 --double-layer 0.2 --figure spectrum.png",
    )
    sub.add_argument("cell", metavar="CELL", help=_CELLS)
    sub.add_argument("--soc", type=float, default=0.5, help="state of charge, from 0 to 1 (default: 0.5)")
    sub.add_argument("--temperature", type=float, metavar="K", help="in K (default: that of the cell)")
    sub.add_argument("--lowest", type=float, default=1e-4, metavar="HZ", help="lowest frequency (default: 1e-4)")
    sub.add_argument("--highest", type=float, default=1e4, metavar="HZ", help="highest frequency (default: 1e4)")
    sub.add_argument("--points", type=int, default=41, help="frequencies, evenly on a logarithmic scale (default: 41)")
    sub.add_argument(
        "--double-layer",
        type=float,
        default=0.0,
        metavar="F_M2",
        help="capacitance per reacting area of both electrodes, F/m2 (default: 0)",
    )
    sub.add_argument("--output", metavar="FILE.csv", help="also write the spectrum as a table")
    sub.add_argument("--figure", metavar="FILE.png", help="also draw the Nyquist and the Bode diagram")


def _add_cycle(commands) -> None:
    sub = _command(
        commands,
        "cycle",
        "cycle:cycle",
        "steps of a protocol, one after the other",
        'mesode cycle Chen2020 --step "Discharge at 1C until 2.5 V" --step "Rest for 1 hour" --figure course.png',
    )
    sub.add_argument("cell", metavar="CELL", help=_CELLS)
    sub.add_argument("protocol", nargs="?", metavar="PROTOCOL.toml", help="protocol file")
    sub.add_argument(
        "--step", action="append", default=[], metavar="SENTENCE", help="a step, instead of the file (repeatable)"
    )
    sub.add_argument("--state-of-charge", type=float, metavar="X", help="at the start, from 0 to 1 (default: 1)")
    sub.add_argument("--thermal", action="store_true", help="with the lumped thermal model")
    sub.add_argument("--csv", metavar="FILE.csv", help="also write the course in the Battery Data Format")
    sub.add_argument("--figure", metavar="FILE.png", help="also draw voltage, current, temperature, plating potential")


def _add_files(commands) -> None:
    report = _command(
        commands,
        "report",
        "files:report",
        "write the HTML report of a run file",
        "mesode report mesode_run.h5",
        computes=False,
    )
    report.add_argument("run_file", metavar="RUN.h5")
    report.add_argument("--output", metavar="REPORT.html", help="default: beside the run file")
    export = _command(
        commands,
        "export",
        "files:export",
        "write parts of a run file in other formats",
        "mesode export mesode_run.h5 --format vtu stl csv --output exported/",
        computes=False,
    )
    export.add_argument("run_file", metavar="RUN.h5", help="or, for --format bpx, any cell that `discharge` takes")
    export.add_argument(
        "--format",
        nargs="+",
        choices=("vtkhdf", "vtu", "stl", "tiff", "lammps", "lammps-data", "xyz", "csv", "bpx"),
        default=["vtkhdf", "csv"],
        help="what to write",
    )
    export.add_argument("--output", metavar="FOLDER", help="default: a folder named after the run file")
    export.add_argument("--bpx-version", choices=("1.1", "0.5"), default="1.1", help="of the BPX file")
    export.add_argument("--stage", choices=("dried", "calendered"), default="calendered", help="which structure")
    info = _command(
        commands, "info", "files:info", "what is in a run file; versions and devices", "mesode info mesode_run.h5"
    )
    info.add_argument("run_file", metavar="RUN.h5", nargs="?")
    bench = _command(commands, "bench", "bench:bench", "the benchmark command", "mesode bench transport cell")
    names = "transport, calender, particles, cell, chain, inverse, resolved (all of these by default), "
    names += "transport_large, particles_large"
    bench.add_argument("suite", nargs="*", metavar="SUITE", help=names)
    bench.add_argument("--output", metavar="FILE.json", help="where to write the results")


if __name__ == "__main__":
    sys.exit(main())
