"""How much less resistance has a graded electrode than the even one with as much active material in the same
thickness?

`mesode design --problem graded_fixed_mass` does the same; see docs/gallery.md. Takes seconds.
"""

from pathlib import Path

from inverse.problems import graded_fixed_mass
from mesode import gallery, process
from mesode.report import write_report

process.configure()
challenge = graded_fixed_mass.challenge()
with process.StopWatch() as watch:  # a stop signal saves; the next run goes on
    found = gallery.run(challenge, Path("mesode_graded_fixed_mass.h5"), 0, watch, resume=True, say=print)
write_report("mesode_graded_fixed_mass.h5", "mesode_graded_fixed_mass.html")
for at, row in found["variants"]["rows"].items():
    print(f"mean porosity {at}: {row['figures']['gain_percent']:.2f} % less resistance")
