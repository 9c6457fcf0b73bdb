"""How much energy by volume must a cell give up to be charged from 10 to 80 % in half an hour without plating?

`mesode design --problem fast_charge` does the same; see docs/gallery.md. A few minutes, to compile.
"""

from pathlib import Path

from inverse.problems import fast_charge
from mesode import gallery, process
from mesode.report import write_report

process.configure()
challenge = fast_charge.challenge()
with process.StopWatch() as watch:  # a stop signal saves; the next run goes on
    found = gallery.run(challenge, Path("mesode_fast_charge.h5"), 0, watch, resume=True, say=print)
write_report("mesode_fast_charge.h5", "mesode_fast_charge.html")
for at, row in found["variants"]["rows"].items():
    print(f"10 to 80 % in {at} min: {row['figures']['energy_Wh_L']:.0f} Wh/L")
