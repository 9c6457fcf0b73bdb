"""DFN and thermal parameters from the discharges of an LG M50 at 0.1C and 0.5C, judged by the one at 1C.

The same as `mesode fit examples/fit.toml`, in Python. See docs/calibration.md.
"""

import pathlib

import jax

jax.config.update("jax_enable_x64", True)

from inverse.calibrate import calibrate  # noqa: E402
from mesode.fit_figure import curves as draw  # noqa: E402
from mesode.fit_job import read_fit_job  # noqa: E402
from mesode.fit_run import calibration_of, cell_of, summary  # noqa: E402

job = read_fit_job(pathlib.Path(__file__).parent / "fit.toml")
cell, nominal = cell_of(job)
calibration, curves = calibration_of(job, cell)
solution = calibrate(calibration)
found = summary(job, calibration, curves, solution.value, cell, nominal)
for key, value in found["variables"].items():
    low, high = found["intervals"][key]
    print(f"{key}: {value:.4g}, 95 % from {low:.4g} to {high:.4g}: {found['verdicts'][key]}")
for name, curve in found["curves"].items():
    for when in ("before", "after"):
        print(f"{name} {when}: " + ", ".join(f"{k} {v:.4g}" for k, v in curve[when].items()))
print("1C should end between {:.0f} and {:.0f} s".format(*found["curves"]["1C"]["end_time_interval_s"]))
for row in found["next"]:
    print(f"next {row['measurement']}: intervals to {100 * row['volume']:.0f} % on average")
draw(found["curves"]).savefig("mesode_calibration.png", dpi=110, facecolor="white")
