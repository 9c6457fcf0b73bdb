"""Which porosity gives a porous electrode of a given thickness the least resistance?

`mesode design --problem linear_porous_electrode` does the same; see docs/gallery.md. Takes seconds.
"""

from pathlib import Path

from inverse.problems import linear_porous_electrode
from mesode import gallery, process
from mesode.report import write_report

process.configure()
challenge = linear_porous_electrode.challenge()
with process.StopWatch() as watch:  # a stop signal saves; the next run goes on
    found = gallery.run(challenge, Path("mesode_linear_porous_electrode.h5"), 0, watch, resume=True, say=print)
write_report("mesode_linear_porous_electrode.h5", "mesode_linear_porous_electrode.html")
print("porosity", found["variables"]["porosity"]["best"], "errors", found["known"]["errors"])
