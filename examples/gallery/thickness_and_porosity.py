"""How thick and how porous should electrodes be for the most energy by mass, at the rate at which it is drawn?

`mesode design --problem thickness_and_porosity` does the same; see docs/gallery.md. A few minutes, to compile.
"""

from pathlib import Path

from inverse.problems import thickness_and_porosity
from mesode import gallery, process
from mesode.report import write_report

process.configure()
challenge = thickness_and_porosity.challenge()
with process.StopWatch() as watch:  # a stop signal saves; the next run goes on
    found = gallery.run(challenge, Path("mesode_thickness_and_porosity.h5"), 0, watch, resume=True, say=print)
write_report("mesode_thickness_and_porosity.h5", "mesode_thickness_and_porosity.html")
for at, row in found["variants"]["rows"].items():
    figures = row["figures"]
    print(f"{at}C: {figures['positive_thickness_um']:.1f} um, porosity {figures['positive_porosity']:.3f}")
