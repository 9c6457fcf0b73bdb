"""In which order of fast and slow does a film shrink soonest with at most 1.5 times the mean binder at its top?

`mesode design --problem drying_schedule` does the same; see docs/gallery.md. A minute.
"""

from pathlib import Path

from inverse.problems import drying_schedule
from mesode import gallery, process
from mesode.report import write_report

process.configure()
challenge = drying_schedule.challenge()
with process.StopWatch() as watch:  # a stop signal saves; the next run goes on
    found = gallery.run(challenge, Path("mesode_drying_schedule.h5"), 0, watch, resume=True, say=print)
write_report("mesode_drying_schedule.h5", "mesode_drying_schedule.html")
even, best = (found["figures"][who]["shrinking_time_s"] for who in ("best uniform", "best"))
print(f"{100 * (1 - best / even):.0f} % less time than the best even flux takes, with as much binder at the surface")
