"""How hard should a calender press for the most energy by volume, at the rate at which it is drawn?

`mesode design --problem calendering_load` does the same; see docs/gallery.md. About half an hour.
"""

from pathlib import Path

from inverse.problems import calendering_load
from mesode import gallery, process
from mesode.report import write_report

process.configure()
challenge = calendering_load.challenge()
with process.StopWatch() as watch:  # a stop signal saves; the next run goes on
    found = gallery.run(challenge, Path("mesode_calendering_load.h5"), 0, watch, resume=True, say=print)
write_report("mesode_calendering_load.h5", "mesode_calendering_load.html")
for rate, row in found["variants"]["rows"].items():
    load, porosity = row["variables"]["line_load_N_m"] / 1e3, row["figures"]["porosity"]
    print(f"{rate}C: {load:.0f} N/mm, porosity {porosity:.3f}, {row['figures']['energy_Wh_L']:.1f} Wh/L")
