"""Binder between two particles in motion that relaxes and yields: the law of the KTH electrode model."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from microstructure.checks import require
from solver.particles.ends import Ends, Size
from solver.particles.forces import cross
from solver.particles.prony import Prony
from solver.particles.tangential import turned


class Relaxed(eqx.Module):
    """What viscoelastic binder remembers: `push` (B,), N; `pressed`, how much thinner it is (B,), m; `creep`, its
    viscous part by Prony term (M, B), m; `across`, force of the shear (3, B), N; `slip` (3, B), m; `crept`, its viscous
    part (M, 3, B), m; `held` (B,), 1 once it is bonded; `intact` (B,), 1 until it breaks.
    """

    push: Float[Array, " b"]
    pressed: Float[Array, " b"]
    creep: Float[Array, "m b"]
    across: Float[Array, "3 b"]
    slip: Float[Array, "3 b"]
    crept: Float[Array, "m 3 b"]
    held: Float[Array, " b"]
    intact: Float[Array, " b"]


class ViscoelasticBinder(eqx.Module):
    """A disc of binder between two particles that cannot narrow, that relaxes, and that yields along its axis.

    With area A = pi r^2 and thickness t the instantaneous stiffnesses are psi = c (1 - nu) / ((1 + nu) (1 - 2 nu)) E A
    / t along and psi_s = E A / (2 (1 + nu) t) across; the forces relax by the same [`Prony`][] series, F += psi (dh -
    sum alpha_i dq_i), and the one along is cut at A sigma_Y both ways after each step. A pair is bonded once its binder
    has been pressed; before, it carries nothing, and afterwards tension too. It breaks when its stretch over t reaches
    `fracture_strain`. It carries no moment beyond that of its shear force. What is not `adhesive`, as while a film is
    packed, pushes while it is pressed and does nothing else.

    **Arguments:** `modulus`, E, Pa, of fast loading; `poisson`; `yield_stress`, sigma_Y, Pa; `confinement`, c;
    `fracture_strain`, infinite is unbreakable; `adhesive`; `relaxation`.

    **Source:** Lundkvist et al. 2024, doi 10.1016/j.powtec.2024.119873, and the code that belongs to it (axlun/DEMsim),
    with E = 2 GPa, nu = 0.3, sigma_Y = 200 MPa in early runs and none in the final ones, c = 1; fracture strains of
    0.05 to 0.2 in their later ones. The series across acts on the slip as a vector, theirs on its length, which is the
    same for slip in one direction.
    """

    modulus: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=2e9)
    poisson: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.3)
    yield_stress: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=200e6)
    confinement: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)
    fracture_strain: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=jnp.inf)
    adhesive: Bool[Array, ""] = eqx.field(converter=jnp.asarray, default=True)
    relaxation: Prony = eqx.field(default_factory=Prony)

    def __check_init__(self):
        require("modulus", self.modulus, 1.0, 1e13, unit="Pa")
        require("poisson", self.poisson, -0.99, 0.49)
        # Infinite is without limit.
        require("yield_stress", jnp.minimum(self.yield_stress, 1e30), 1.0, unit="Pa")
        require("confinement", self.confinement, 1e-3, 1e3)
        require("fracture_strain", jnp.minimum(self.fracture_strain, 1e30), 0.0)

    def stiffnesses(self, size: Size):
        """psi and psi_s (B,), N/m."""
        plain = self.modulus * jnp.pi * size.radius**2 / size.thickness
        nu = self.poisson
        return self.confinement * (1 - nu) / ((1 + nu) * (1 - 2 * nu)) * plain, plain / (2 * (1 + nu))

    def fresh(self, size: Size) -> Relaxed:
        """Binder that was never loaded."""
        count = size.length.shape[0]
        zero, vector = jnp.zeros(count), jnp.zeros((3, count))
        along, across = self.relaxation.fresh((count,)), self.relaxation.fresh((3, count))
        return Relaxed(zero, zero, along, vector, vector, across, size.held, jnp.ones(count))

    def softened(self, share, shift) -> "ViscoelasticBinder":
        """The binder with `share` of its modulus and yield stress, and relaxation times `shift` times as long."""
        changed = (share * self.modulus, share * self.yield_stress, shift * self.relaxation.times)
        return eqx.tree_at(lambda b: (b.modulus, b.yield_stress, b.relaxation.times), self, changed)

    def load(self, size: Size, at: Ends, past: Relaxed, step):
        """See [`solver.particles.bonds.load`][]."""
        length = jnp.sqrt(jnp.sum(at.relative**2, axis=0))
        normal = at.relative / length
        pressed = size.length - length
        held = jnp.where((past.held > 0) | ((pressed > 0) & self.adhesive), 1.0, 0.0)
        intact = jnp.where((past.held > 0) & (-pressed >= self.fracture_strain * size.thickness), 0.0, past.intact)
        acts = ((held > 0) | (pressed > 0)) & (intact > 0)
        push, pressed, creep = self._along(size, jnp.where(acts, pressed, 0), past, step)
        across, slip, crept = self._across(size, at, normal, length, past, step)

        def kept(value):
            return jnp.where(acts, value, 0)

        force = kept(jnp.where(held > 0, -push * normal - across, -jnp.maximum(push, 0) * normal))
        lever = cross(0.5 * length * normal, force)
        sheared = (jnp.where(held > 0, value, 0) for value in map(kept, (across, slip, crept)))
        after = Relaxed(*map(kept, (push, pressed, creep)), *sheared, held, intact)
        return force, lever, lever, after

    def _along(self, size: Size, pressed, past: Relaxed, step):
        """The force that pushes the ends apart, how much thinner the binder is, and its viscous part."""
        change, creep = self.relaxation.step(past.creep, past.pressed, pressed, step)
        limit = self.yield_stress * jnp.pi * size.radius**2
        return jnp.clip(past.push + self.stiffnesses(size)[0] * change, -limit, limit), pressed, creep

    def _across(self, size: Size, at: Ends, normal, length, past: Relaxed, step):
        """The force against the slip of the first end, the slip, and its viscous part; all turn with the pair."""
        slide = at.velocity + cross(0.5 * length * (at.spins[0] + at.spins[1]), normal)
        before = turned(past.slip, normal)
        slip = before + step * (slide - jnp.sum(slide * normal, axis=0) * normal)
        crept = jax.vmap(turned, in_axes=(0, None))(past.crept, normal)
        change, crept = self.relaxation.step(crept, before, slip, step)
        return turned(past.across, normal) + self.stiffnesses(size)[1] * change, slip, crept
