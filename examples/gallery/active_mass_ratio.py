"""Does the best ratio of the active masses of positive and negative depend on the rate of the discharge?

`mesode design --problem active_mass_ratio` does the same; see docs/gallery.md. A few minutes, to compile.
"""

from pathlib import Path

from inverse.problems import active_mass_ratio
from mesode import gallery, process
from mesode.report import write_report

process.configure()
challenge = active_mass_ratio.challenge()
with process.StopWatch() as watch:  # a stop signal saves; the next run goes on
    found = gallery.run(challenge, Path("mesode_active_mass_ratio.h5"), 0, watch, resume=True, say=print)
write_report("mesode_active_mass_ratio.h5", "mesode_active_mass_ratio.html")
for at, row in found["variants"]["rows"].items():
    print(f"{at}C: ratio of active masses {row['figures']['active_mass_ratio']:.3f}")
