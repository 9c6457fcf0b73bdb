"""A batch of larger particles with more spread: how must a film be mixed, coated and pressed to stay as it was?

`mesode design --problem new_batch` does the same; see docs/gallery.md. About half an hour.
"""

from pathlib import Path

from inverse.problems import new_batch
from mesode import gallery, process
from mesode.report import write_report

process.configure()
challenge = new_batch.challenge()
with process.StopWatch() as watch:  # a stop signal saves; the next run goes on
    found = gallery.run(challenge, Path("mesode_new_batch.h5"), 0, watch, resume=True, say=print)
write_report("mesode_new_batch.h5", "mesode_new_batch.html")
for name in new_batch.TARGETS:
    start, best, finer = (found["figures"][who][name] for who in ("start", "best", "best, finer"))
    print(f"{name}: {start:.4g} as before, {best:.4g} mended, {finer:.4g} in finer, unseen packings")
