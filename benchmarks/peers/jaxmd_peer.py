"""jax-md: Hertzian spheres without friction, damping or plates, in a periodic box: processor time and pair pressure.

A script of its own, because the peer may live in another environment: the question comes as JSON on standard input and
the answer goes as the last line to standard output. Lengths are in um, times in us, moduli in kPa, masses in pg.
"""

import json
import sys
import time

SKIN = 1.0  # um, as in the measured runs of the reference notes


def solve(packing: str, steps: int, modulus: float, poisson: float, density: float, step: float) -> dict:
    """Plain numbers, or, where jax-md cannot be run, a row that says why.

    **Arguments:** `packing`, path of a .npz file with `positions` (N, 3), the thickness last, `radii` (N,), `width`
    and `height`; `steps`, timed.
    """
    try:
        import jax

        jax.config.update("jax_enable_x64", True)
        import jax.numpy as jnp
        import jax_md
        import numpy as np
        from jax_md import partition, simulate, smap, space
    except ImportError as error:
        return {"peer": "jax-md", "not_run": f"could not be imported: {error}. Install mesode[peers]."}
    data = np.load(packing)
    radii, positions = jnp.asarray(data["radii"]), jnp.asarray(data["positions"])
    # Nothing meets through the free direction: that is where the plates are left out.
    box = jnp.asarray([data["width"], data["width"], data["height"] + 40.0])
    displacement, shift = space.periodic(box)
    metric = space.canonicalize_displacement_or_metric(displacement)
    energy = _hertz(smap, jnp, metric, radii, modulus / (2 * (1 - poisson**2)))
    reach, dense = 2 * float(radii.max()), partition.NeighborListFormat.Dense
    near = partition.neighbor_list(displacement, box, reach, dr_threshold=SKIN, format=dense).allocate(positions)
    begin, move = simulate.nve(energy, shift, step)
    state = begin(jax.random.PRNGKey(0), positions, 0.0, mass=density * 4 / 3 * jnp.pi * radii**3, neighbor=near)

    @jax.jit
    def march(state, near):
        def one(_, carry):
            state, near = carry
            near = near.update(state.position)
            return move(state, neighbor=near), near

        return jax.lax.fori_loop(0, steps, one, (state, near))

    compiled, spent = march.lower(state, near).compile(), []
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        _, after = jax.block_until_ready(compiled(state, near))
        spent.append((time.perf_counter() - wall, time.process_time() - cpu))
    strained = jax.jit(jax.grad(lambda s: energy(positions * jnp.asarray([1.0, 1.0, s]), neighbor=near)))
    pressure = -float(strained(1.0)) / float(data["width"] ** 2 * data["height"])
    return {
        "peer": f"jax-md {getattr(jax_md, '__version__', '')}".strip(),
        "median_s": min(spent)[0],
        "cpu_s": min(spent)[1],
        "overflow": bool(after.did_buffer_overflow),
        "slots": int(near.idx.shape[1]),
        "accuracy": {"pair_pressure_MPa": pressure / 1e3},
    }


def _hertz(smap, jnp, metric, radii, stiffness):
    """The energy of all pairs, 8/15 E* sqrt(R*) d^2.5 each; `stiffness` is E*."""

    def pair(distance, total, reduced):
        overlap = jnp.maximum(total - distance, 0)
        return 8 / 15 * stiffness * jnp.sqrt(reduced) * overlap**2.5

    sizes = {"total": (lambda a, b: a + b, radii), "reduced": (lambda a, b: a * b / (a + b), radii)}
    return smap.pair_neighbor_list(pair, metric, **sizes)


if __name__ == "__main__":
    print(json.dumps(solve(**json.load(sys.stdin))))
