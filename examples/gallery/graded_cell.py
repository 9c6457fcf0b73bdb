"""How much more energy by volume does a cell give at 2C if the porosity of its positive changes through the
thickness, the loading held?

`mesode design --problem graded_cell` does the same; see docs/gallery.md. A few minutes, to compile.
"""

from pathlib import Path

from inverse.problems import graded_cell
from mesode import gallery, process
from mesode.report import write_report

process.configure()
challenge = graded_cell.challenge()
with process.StopWatch() as watch:  # a stop signal saves; the next run goes on
    found = gallery.run(challenge, Path("mesode_graded_cell.h5"), 0, watch, resume=True, say=print)
write_report("mesode_graded_cell.h5", "mesode_graded_cell.html")
even, best = (found["figures"][who]["energy_Wh_L"] for who in ("best uniform", "best"))
print(f"{100 * (best / even - 1):.2f} % more energy by volume than the best even porosity")
