"""What is the least that a kilowatt-hour of cells costs if four fifths of the capacity are to be there at 2C?

`mesode design --problem cheapest_at_rate` does the same; see docs/gallery.md. A few minutes, to compile.
"""

from pathlib import Path

from inverse.problems import cheapest_at_rate
from mesode import gallery, process
from mesode.report import write_report

process.configure()
challenge = cheapest_at_rate.challenge()
with process.StopWatch() as watch:  # a stop signal saves; the next run goes on
    found = gallery.run(challenge, Path("mesode_cheapest_at_rate.h5"), 0, watch, resume=True, say=print)
write_report("mesode_cheapest_at_rate.h5", "mesode_cheapest_at_rate.html")
for at, row in found["variants"]["rows"].items():
    print(f"{at} of the capacity at 2C: {row['figures']['cost_USD_kWh']:.2f} USD/kWh")
