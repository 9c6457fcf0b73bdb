"""Independent reference for particle-resolved cells: a planar stack in one dimension, in plain numpy and scipy.

Lithium metal at x = 0 | layers of electrolyte | a solid slab of active material | collector; or a second slab before
x = 0 in place of the lithium, with its collector behind it. Nothing here is shared with the solver: the equations are
written anew, in space by Legendre-Gauss-Lobatto spectral elements graded to the reacting surfaces, so that the values
at the surfaces are unknowns and lithium is kept to rounding, and in time by Radau IIA of order 5 (scipy) at tight
tolerances. `refined` solves twice and gives the difference as the error.

**Signs.** The current density I, A/m2, is positive on discharge: charge then flows along +x from the lithium through
the electrolyte into the slab and on to the collector. j, A/m2, is the current out of a solid into the electrolyte,
positive for oxidation: j = I at the lithium and j = -I at the slab. Lithium is at zero potential; V = phi_s at the
collector.

**Equations.** In a layer of electrolyte of porosity eps and relative transport b (both 1 for free electrolyte)

    eps dc/dt = d/dx(b D_e(c) dc/dx),   i = b kappa(c) (-dphi_e/dx + 2 (1 - t+) X RT/F dln c/dx) = I,

with no flux of anions at both solids: -b D_e dc/dx = (1 - t+) I / F there, since N_Li = -b D_e dc/dx + t+ I/F is I/F.
In the slab, from its surface at 0 to the collector at L_s,

    dc_s/dt = d/dx(D_s(c_s) dc_s/dx),   -D_s dc_s/dx = I/F at its surface, 0 at the collector,   -sigma dphi_s/dx = I.

At the surface j = 2 j0 sinh(F eta / 2RT) with eta = phi_s - phi_e - U(c_s / c_max), j0 = m sqrt(c c_s (c_max - c_s)),
all at the surface; at the lithium eta = 0 - phi_e and j0 = j_ref (c / c_ref)^n, or eta = 0 where `lithium` is `None`.
Because the current is given everywhere, the potentials follow from the concentrations by quadrature:

    V = U - eta_slab - eta_lithium - I integral dx / (b kappa) + 2 (1 - t+) X RT/F ln(c_slab / c_lithium)
        - I L_s / sigma,   eta = 2RT/F asinh(I / 2 j0).

A second slab has the equations of the first with -I in place of I; its U, eta and I L / sigma are taken off in place of
eta_lithium.

The insertion kinetics of the solver, F k sqrt((c/c_ref) x (1 - x)), are these with m = F k / (c_max sqrt(c_ref)).

**How to call it.** `chen_stack()` is the stack of the tests; any other is a `PlanarStack` with laws as functions.

    stack = chen_stack()                         # or PlanarStack(layers=(Layer(20e-6),), slab=5e-6, ...)
    run = stack.discharge(20.0, [0.1, 1.0])      # run.voltage, run.salt, run.solid, run.surface, run.losses
    voltage, error = stack.refined(20.0, [0.1])  # V, and its difference from a coarser mesh and looser steps
    stack.time_to(3.0, 20.0, latest=140.0)       # s

A discharge takes 0.2 s. `CHEN_CURRENT`, `CHEN_TIMES`, `CHEN_VOLTAGES` and, for the diffusivity `steep_diffusivity`,
`STEEP_VOLTAGES` are converged values, as is `FULL_VOLTAGES` for `chen_stack(second=chen_graphite_slab())`: two meshes
and tolerances differ by 1e-10 V, printed by `python -m tests.resolved_reference`. Earlier notes give voltages of a
stack of the same thicknesses and current (3.731706772 V after 0.1 s to 3.350209127 V after 100 s) without its
parameters. Fits of the published NMC and cobalt oxide in initial stoichiometry, diffusivity, rate and series loss, from
many starts, come no nearer than 1 mV, with rates 14 times and 5e-6 times the published; a straight potential has too
many free coefficients to tell: they cannot be reproduced.

**Closed forms** with it: `slab_surface`, `sphere_surface` (constant flux), `sphere_reaction`, `sphere_in_shell`.

**Sources:** Latz and Zausch 2011, doi 10.1016/j.jpowsour.2010.11.088 (equations); Crank 1975, The Mathematics of
Diffusion, equations 4.55 and 6.45, isbn 978-0198534112 (series).
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from scipy.sparse import csc_matrix

FARADAY = 96485.33212  # C/mol, CODATA 2018
GAS_CONSTANT = 8.31446261815324  # J/mol/K, CODATA 2018


@dataclasses.dataclass(frozen=True)
class Layer:
    """Electrolyte: `thickness`, m; `porosity`; `transport`, effective over free. 1 and 1 is free electrolyte."""

    thickness: float
    porosity: float = 1.0
    transport: float = 1.0


@dataclasses.dataclass(frozen=True)
class Resolution:
    """`order` of the polynomials, `elements` in each layer and the slab, halved towards each reacting surface."""

    order: int = 8
    elements: int = 10
    tolerance: float = 1e-8


@dataclasses.dataclass(frozen=True)
class Run:
    """A discharge: `time`, s; `voltage`, V; `salt`, (x, c) with c of shape (x, times), mol/m3, x from the lithium, m;
    `solid`, (x, c_s) with x from the surface to the collector; `surface`, c_s there; `salt_at_slab`; `losses`, V by
    name (all positive on discharge, so that V = ocp - their sum); `balance`, the largest relative drift of lithium in
    salt and slab against the charge passed."""

    time: np.ndarray
    voltage: np.ndarray
    salt: tuple[np.ndarray, np.ndarray]
    solid: tuple[np.ndarray, np.ndarray]
    surface: np.ndarray
    salt_at_slab: np.ndarray
    losses: dict[str, np.ndarray]
    balance: float


@dataclasses.dataclass(frozen=True)
class Slab:
    """A second slab: `thickness`, m; `diffusivity`, D_s(c_s) in m2/s; `conductivity`, S/m; `maximum` and `initial`,
    mol/m3; `potential`, U of the stoichiometry, V; `rate`, m in (A/m2) (m3/mol)^1.5."""

    thickness: float
    diffusivity: Callable
    conductivity: float
    maximum: float
    initial: float
    potential: Callable
    rate: float


@dataclasses.dataclass(frozen=True)
class PlanarStack:
    """The stack. SI units; laws take and give arrays.

    `layers` of electrolyte from the lithium on; `slab`, its thickness, m; `solid_diffusivity`, D_s(c_s) in m2/s;
    `electronic_conductivity`, sigma, S/m; `maximum`, c_max and `initial`, c_s at the start, mol/m3; `potential`, U of
    the stoichiometry, V; `rate`, m in (A/m2) (m3/mol)^1.5; `salt`, c at the start, mol/m3; `salt_diffusivity`,
    D_e(c), m2/s and `conductivity`, kappa(c), S/m, of the free electrolyte; `transference`, t+;
    `thermodynamic_factor`, X; `lithium`, (j_ref in A/m2, c_ref in mol/m3, n) or `None`; `second`, a [`Slab`][] in its
    place; `temperature`, K.
    """

    layers: tuple[Layer, ...]
    slab: float
    solid_diffusivity: Callable
    electronic_conductivity: float
    maximum: float
    initial: float
    potential: Callable
    rate: float
    salt: float
    salt_diffusivity: Callable
    conductivity: Callable
    transference: float
    thermodynamic_factor: float = 1.0
    lithium: tuple[float, float, float] | None = None
    second: Slab | None = None
    temperature: float = 298.15

    def discharge(self, current: float, times, resolution: Resolution = Resolution()) -> Run:
        """From rest under `current`, A/m2; values at `times`, s, increasing and above 0."""
        times = np.asarray(times, float)
        widths, storage, transport = self._electrolyte_elements(resolution)
        lyte = Diffusion(widths, storage, transport, self.salt_diffusivity, resolution.order)
        supply = (1.0 - self.transference) * current / FARADAY
        c = lyte.solve(self.salt, supply, supply, times, resolution.tolerance)
        widths = graded(self.slab, resolution.elements, both=False)
        solid = Diffusion(widths, 1.0, 1.0, self.solid_diffusivity, resolution.order)
        cs = solid.solve(self.initial, current / FARADAY, 0.0, times, resolution.tolerance)
        losses = self._losses(current, lyte, c, cs[0])
        voltage = self.potential(cs[0] / self.maximum) - sum(losses.values())
        if self.second is not None:
            voltage = voltage - self._of_second(current, c[0], times, resolution)
        taken = current * times / FARADAY / (self.slab * self.initial)
        drift = np.concatenate(
            [
                lyte.content(c) / lyte.content(np.full_like(c, self.salt)) - 1.0,
                solid.content(cs) / (self.slab * self.initial) - 1.0 - taken,
            ]
        )
        return Run(times, voltage, (lyte.x, c), (solid.x, cs), cs[0], c[-1], losses, float(np.max(np.abs(drift))))

    def refined(self, current: float, times) -> tuple[np.ndarray, float]:
        """Voltage at `times`, and the largest difference from a coarser mesh with looser steps, V."""
        fine = self.discharge(current, times, Resolution(10, 14, 1e-10)).voltage
        coarse = self.discharge(current, times, Resolution(8, 10, 1e-8)).voltage
        return fine, float(np.max(np.abs(fine - coarse)))

    def time_to(self, cutoff: float, current: float, latest: float) -> float:
        """When the voltage falls to `cutoff`, s, on a discharge that passes it before `latest`."""
        return brentq(
            lambda t: self.discharge(current, [t]).voltage[0] - cutoff, 1e-3 * latest, latest, xtol=1e-8 * latest
        )

    def _electrolyte_elements(self, resolution):
        """Widths, porosities and transports of all elements: graded to both solids, inner layers evenly."""
        last, parts = len(self.layers) - 1, []
        for k, layer in enumerate(self.layers):
            if k in (0, last):
                widths = graded(layer.thickness, resolution.elements, both=last == 0)
                widths = widths if k == 0 else widths[::-1]
            else:
                widths = np.full(4, layer.thickness / 4)
            parts.append((widths, np.full(len(widths), layer.porosity), np.full(len(widths), layer.transport)))
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    def _losses(self, current, lyte, c, surface):
        thermal = GAS_CONSTANT * self.temperature / FARADAY
        exchange = self.rate * np.sqrt(c[-1] * surface * (self.maximum - surface))
        diffusion = 2.0 * (1.0 - self.transference) * self.thermodynamic_factor * thermal
        losses = {
            "slab kinetics": 2.0 * thermal * np.arcsinh(0.5 * current / exchange),
            "electrolyte, ohmic": current * lyte.integral(1.0 / self.conductivity(c), 1.0 / lyte.transport),
            "electrolyte, diffusion": -diffusion * np.log(c[-1] / c[0]),
            "slab, ohmic": np.full(c.shape[1], current * self.slab / self.electronic_conductivity),
        }
        if self.lithium is not None:
            reference, salt, exponent = self.lithium
            metal = reference * (c[0] / salt) ** exponent
            losses["lithium kinetics"] = 2.0 * thermal * np.arcsinh(0.5 * current / metal)
        return losses

    def _of_second(self, current, salt, times, resolution):
        """What the potential of the second slab is at its collector over that of the electrolyte at its surface, V."""
        slab, thermal = self.second, GAS_CONSTANT * self.temperature / FARADAY
        widths = graded(slab.thickness, resolution.elements, both=False)
        solid = Diffusion(widths, 1.0, 1.0, slab.diffusivity, resolution.order)
        surface = solid.solve(slab.initial, -current / FARADAY, 0.0, times, resolution.tolerance)[0]
        exchange = slab.rate * np.sqrt(salt * surface * (slab.maximum - surface))
        kinetics = 2.0 * thermal * np.arcsinh(0.5 * current / exchange)
        return slab.potential(surface / slab.maximum) + kinetics + current * slab.thickness / slab.conductivity


def graded(length: float, count: int, both: bool) -> np.ndarray:
    """Widths of `count` elements over `length`, each 1.6 times the one nearer the start, or nearer both ends."""
    if both:
        half = graded(0.5 * length, count, both=False)
        return np.concatenate([half, half[::-1]])
    widths = 1.6 ** np.arange(count)
    return length * widths / widths.sum()


def lobatto(order: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss and Lobatto on (-1, 1), and the matrix that differentiates at the nodes."""
    legendre = np.polynomial.legendre.Legendre.basis(order)
    x = np.concatenate([[-1.0], np.sort(legendre.deriv().roots().real), [1.0]])
    w = 2.0 / (order * (order + 1) * legendre(x) ** 2)
    gap = x[:, None] - x[None, :] + np.eye(order + 1)
    slopes = legendre(x)[:, None] / legendre(x)[None, :] / gap
    slopes[np.diag_indices(order + 1)] = 0.0
    slopes[0, 0], slopes[-1, -1] = -order * (order + 1) / 4.0, order * (order + 1) / 4.0
    return x, w, slopes


class Diffusion:
    """storage dc/dt = d/dx(transport D(c) dc/dx) between two given fluxes, by spectral elements.

    The weak form, M dc/dt = -K(c) c + (flux in at the start) - (flux out at the end), with the mass lumped at the
    Lobatto nodes, which is their own quadrature: sums of M c are the content, and are kept exactly.
    """

    def __init__(self, widths, storage, transport, law, order):
        nodes, weights, self.slopes = lobatto(order)
        self.widths, self.law, self.weights, self.order = np.asarray(widths), law, weights, order
        self.transport = np.broadcast_to(transport, self.widths.shape)
        starts = np.concatenate([[0.0], np.cumsum(self.widths)[:-1]])
        every = starts[:, None] + 0.5 * self.widths[:, None] * (nodes[None] + 1.0)
        self.place = order * np.arange(len(self.widths))[:, None] + np.arange(order + 1)[None]
        self.size = order * len(self.widths) + 1
        self.x = np.zeros(self.size)
        self.x[self.place] = every
        self.mass = self._gathered(np.broadcast_to(storage, self.widths.shape)[:, None] * self._measure())

    def _measure(self):
        return 0.5 * self.widths[:, None] * self.weights[None]

    def _gathered(self, values):
        total = np.zeros(self.size)
        np.add.at(total, self.place, values)
        return total

    def content(self, c):
        """Integral of storage times c, shape (times,)."""
        return self.mass @ c

    def integral(self, values, factor):
        """Integral over x of nodal values, shape (size, times), times a `factor` of each element."""
        return np.einsum("ek,ekt->t", factor[:, None] * self._measure(), values[self.place])

    def rate(self, c, supply, draw):
        local = c[self.place]
        flux = self.transport[:, None] * self.law(local) * (local @ self.slopes.T) * 2.0 / self.widths[:, None]
        total = -self._gathered((flux * self.weights[None]) @ self.slopes)
        total[0] += supply
        total[-1] -= draw
        return total / self.mass

    def jacobian(self, c):
        """d rate / d c, the law's slope by a central difference."""
        local = c[self.place]
        step = 1e-6 * (1.0 + np.abs(local))
        bend = (self.law(local + step) - self.law(local - step)) / (2.0 * step)
        scale = self.transport * 2.0 / self.widths
        gradient = local @ self.slopes.T
        inner = (
            self.law(local)[:, :, None] * self.slopes[None]
            + np.eye(self.order + 1)[None] * (bend * gradient)[:, :, None]
        )
        blocks = -np.einsum("e,qi,q,eqj->eij", scale, self.slopes, self.weights, inner)
        # Sparse, because the threads of a dense LU of this size wait for each other on a busy machine.
        rows, columns = np.broadcast_arrays(self.place[:, :, None], self.place[:, None, :])
        shape = (self.size, self.size)
        scaled = (blocks / self.mass[self.place][:, :, None]).ravel()
        return csc_matrix((scaled, (rows.ravel(), columns.ravel())), shape)

    def solve(self, start, supply, draw, times, tolerance):
        """c at all nodes and `times` from an even start, shape (size, times).

        Radau IIA from each of `times` to the next, so that every value ends a step and is not interpolated.
        """
        values, c, now = [], np.full(self.size, float(start)), 0.0
        for time in times:
            found = solve_ivp(
                lambda _, y: self.rate(y, supply, draw),
                (now, time),
                c,
                method="Radau",
                jac=lambda _, y: self.jacobian(y),
                rtol=tolerance,
                atol=tolerance * start,
                t_eval=[time],
                first_step=1e-6 * time if now == 0.0 else 1e-2 * (time - now),
            )
            if not found.success:
                raise RuntimeError(found.message)
            c, now = found.y[:, -1], time
            values.append(c)
        return np.stack(values, axis=1)


# --- the stack of the tests -------------------------------------------------------------------------------------------


def nmc_potential(x):
    """NMC 811 against lithium, V, of the stoichiometry (Chen 2020, doi 10.1149/1945-7111/ab9050, equation 8)."""
    bends = -0.0428 * np.tanh(18.5138 * (x - 0.5542)) - 17.7326 * np.tanh(15.7890 * (x - 0.3117))
    return 4.4875 - 0.8090 * x + bends + 17.5842 * np.tanh(15.9308 * (x - 0.3120))


def graphite_potential(x):
    """Graphite with silicon oxide against lithium, V, of the stoichiometry (Chen 2020, equation 9)."""
    bends = -0.0909 * np.tanh(29.8538 * (x - 0.1234)) - 0.04478 * np.tanh(14.9159 * (x - 0.2769))
    return 1.9793 * np.exp(-39.3631 * x) + 0.2482 + bends - 0.0205 * np.tanh(30.4444 * (x - 0.6103))


CHEN_CURRENT = 20.0  # A/m2
CHEN_TIMES = (0.1, 1.0, 10.0, 60.0, 100.0)  # s
CHEN_VOLTAGES = (4.119054114, 4.082251192, 3.924297529, 3.603925745, 3.484899702)  # V
STEEP_VOLTAGES = (4.129226183, 4.087494943, 3.978581128, 3.662135138, 3.541299450)  # V
FULL_VOLTAGES = (3.801024506, 3.769064788, 3.620731068, 3.282331937, 3.149886328)  # V


def chen_graphite_slab(thickness=7.5e-6) -> Slab:
    """The charged graphite of Chen 2020, table VII."""
    return Slab(
        thickness=thickness,
        diffusivity=lambda c: 3.3e-14 + 0.0 * c,  # m2/s
        conductivity=215.0,  # S/m
        maximum=33133.0,  # mol/m3
        initial=29866.0,  # mol/m3
        potential=graphite_potential,
        rate=6.48e-7,  # (A/m2) (m3/mol)^1.5
    )


def chen_stack(
    solid_diffusivity=lambda c: 4e-15 + 0.0 * c, layers=(Layer(20e-6),), slab=5e-6, second=None
) -> PlanarStack:
    """A slab of the NMC of Chen 2020 at 4.27 V against the lithium of Xu 2019 or a `second` slab, in the electrolyte of
    Nyman 2008.

    What the solver's library calls `chen_nmc`, `nyman_electrolyte` and the metal of `half_cell`, typed anew.
    """
    return PlanarStack(
        layers=layers,
        slab=slab,
        solid_diffusivity=solid_diffusivity,  # m2/s
        electronic_conductivity=0.18,  # S/m
        maximum=63104.0,  # mol/m3
        initial=17038.0,  # mol/m3
        potential=nmc_potential,
        rate=3.42e-6,  # (A/m2) (m3/mol)^1.5
        salt=1000.0,  # mol/m3
        salt_diffusivity=lambda c: 8.794e-17 * c**2 - 3.972e-13 * c + 4.862e-10,  # m2/s
        conductivity=lambda c: 0.1297e-9 * c**3 - 2.51 * (1e-3 * c) ** 1.5 + 3.329e-3 * c,  # S/m
        transference=0.2594,
        # A/m2 at a salt of 1000 mol/m3: F k c_Li^0.7 c^0.3, k = 3.5e-8, c_Li = 76900 mol/m3 (Xu 2019).
        lithium=(3.5e-8 * FARADAY * 76900.0**0.7 * 1000.0**0.3, 1000.0, 0.3) if second is None else None,
        second=second,
    )


def steep_diffusivity(c):
    """A diffusivity that falls with filling, m2/s, for a slab that is not linear: 1e-14 exp(-1.2 c / c_max)."""
    return 1e-14 * np.exp(-1.2 * c / 63104.0)


# --- closed forms ---------------------------------------------------------------------------------------------------


def slab_surface(time: float) -> float:
    """(c_0 - c(surface)) D / (N L) of a slab, shut at x = L, at T = D t / L^2 under a constant flux N out.

    T + 1/3 - (2/pi^2) sum exp(-n^2 pi^2 T) / n^2 (Crank 1975, equation 4.55).
    """
    n = np.arange(1, 20001)
    return time + 1.0 / 3.0 - 2.0 / np.pi**2 * np.sum(np.exp(-((n * np.pi) ** 2) * time) / n**2)


def sphere_surface(time: float) -> float:
    """(c_0 - c(R)) D / (N R) of a sphere at T = D t / R^2 under a constant flux N out.

    3 T + 1/5 - 2 sum exp(-l_n^2 T) / l_n^2 over the roots of tan l = l (Crank 1975, equation 6.45).
    """
    # Roots by the fixed point l = n pi + atan l, a contraction by 1/(1 + l^2).
    n = np.arange(1, 20001)
    root = (n + 0.5) * np.pi
    for _ in range(60):
        root = n * np.pi + np.arctan(root)
    return 3.0 * time + 0.2 - 2.0 * np.sum(np.exp(-(root**2) * time) / root**2)


def sphere_reaction(radius: float, exchange: float, overpotential: float, temperature: float = 298.15) -> float:
    """Current out of a sphere, A, with the same overpotential, V, everywhere: 4 pi R^2 2 j0 sinh(F eta / 2RT)."""
    thermal = GAS_CONSTANT * temperature / FARADAY
    return 4.0 * np.pi * radius**2 * 2.0 * exchange * np.sinh(0.5 * overpotential / thermal)


def sphere_in_shell(radius, outer, conductivity, exchange, voltage, temperature: float = 298.15) -> float:
    """Current, A, out of a sphere at U + `voltage` into electrolyte of even salt, grounded at the radius `outer`.

    The root of I = 4 pi R^2 2 j0 sinh(F eta / 2RT), eta = voltage - I (1/R - 1/R_outer) / (4 pi kappa).
    """
    resistance = (1.0 / radius - 1.0 / outer) / (4.0 * np.pi * conductivity)
    limit = voltage / resistance
    return brentq(
        lambda i: sphere_reaction(radius, exchange, voltage - i * resistance, temperature) - i,
        min(0.0, limit),
        max(0.0, limit),
        xtol=1e-14 * abs(limit),
        rtol=1e-14,
    )


if __name__ == "__main__":
    for name, stack in (
        ("constant", chen_stack()),
        ("steep", chen_stack(steep_diffusivity)),
        ("full", chen_stack(second=chen_graphite_slab())),
    ):
        voltage, error = stack.refined(CHEN_CURRENT, CHEN_TIMES)
        print(name, [f"{v:.9f}" for v in voltage], f"error {error:.1e} V")
