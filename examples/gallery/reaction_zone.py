"""Which porosity and thickness give an electrode limited by its electrolyte the most energy per area in an
hour's discharge?

`mesode design --problem reaction_zone` does the same; see docs/gallery.md. Takes seconds.
"""

from pathlib import Path

from inverse.problems import reaction_zone
from mesode import gallery, process
from mesode.report import write_report

process.configure()
challenge = reaction_zone.challenge()
with process.StopWatch() as watch:  # a stop signal saves; the next run goes on
    found = gallery.run(challenge, Path("mesode_reaction_zone.h5"), 0, watch, resume=True, say=print)
write_report("mesode_reaction_zone.h5", "mesode_reaction_zone.html")
print("porosity", found["variables"]["porosity"]["best"], "errors", found["known"]["errors"])
