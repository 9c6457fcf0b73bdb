"""How much less resistance has a porous electrode whose porosity changes through its thickness than the best
even one, in two layers and in many?

`mesode design --problem graded_electrode` does the same; see docs/gallery.md. Takes seconds.
"""

from pathlib import Path

from inverse.problems import graded_electrode
from mesode import gallery, process
from mesode.report import write_report

process.configure()
challenge = graded_electrode.challenge()
with process.StopWatch() as watch:  # a stop signal saves; the next run goes on
    found = gallery.run(challenge, Path("mesode_graded_electrode.h5"), 0, watch, resume=True, say=print)
write_report("mesode_graded_electrode.h5", "mesode_graded_electrode.html")
even, best = (found["figures"][who]["resistance_ohm_cm2"] for who in ("best uniform", "best"))
print(f"{100 * (1 - best / even):.2f} % less resistance than the best even electrode")
