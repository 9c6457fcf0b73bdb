"""The gallery's oracles to 1e-6, its layered electrode by independent routes, places in spaces, gradient checks."""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, linalg, optimize

from inverse import challenge as challenges
from inverse.gradient_check import gradient_check, judged
from inverse.problem import Bound, FigureProblem
from inverse.problems import graded_electrode, graded_fixed_mass, linear_porous_electrode, new_batch, reaction_zone
from inverse.problems.linear_porous_electrode import LinearElectrode, closed_form, layered, layers_of
from inverse.search import Climb, Log
from inverse.space import Entry, Leaf, Space, Variable, profile


def solved(challenge):
    log = Log(challenge.problem)
    return challenge.climb(log), log


@pytest.mark.parametrize("problem", [reaction_zone, linear_porous_electrode])
def test_the_exact_oracles_are_met_to_1e_6(problem):
    challenge = problem.challenge()
    best, _ = solved(challenge)
    found = challenges.errors(challenge.known, challenge.problem, best.x, best.figures)
    assert set(found) == set(challenge.known.values) and max(found.values()) < 1e-6
    assert challenges.met(challenge.known, found)
    start = challenges.errors(challenge.known, challenge.problem, challenge.problem.space.start, best.figures)
    assert not challenges.met(challenge.known, start)


def test_the_numbers_of_the_reaction_zone():
    known = reaction_zone.challenge().known.values
    assert known["porosity"] == pytest.approx(0.6) and known["mean_voltage_V"] == pytest.approx(2 * 3.8 / 3)


@pytest.mark.parametrize("transfer", [20.0, 200.0, 2000.0])
def test_the_best_porosity_by_its_derivative_and_by_values_alone(transfer):
    """The root that the problem calls known, against a search on values of the closed form in another language."""
    electrode = LinearElectrode(transfer=transfer)
    value = eqx.filter_jit(lambda p: closed_form(eqx.tree_at(lambda e: e.porosity, electrode, p)))
    found = optimize.minimize_scalar(lambda p: float(value(jnp.asarray(p))), bounds=(0.05, 0.9), method="bounded",
                                     options={"xatol": 1e-9})  # fmt: skip
    known = linear_porous_electrode.optimum(electrode)
    assert known["porosity"] == pytest.approx(found.x, rel=1e-6)
    assert known["resistance_ohm_cm2"] == pytest.approx(1e4 * found.fun, rel=1e-12)


def test_even_layers_are_the_closed_form():
    for layers in (1, 2, 3, 9):
        even = layers_of(layers)
        assert float(layered(even)) == pytest.approx(float(closed_form(LinearElectrode())), rel=1e-13)


def ladder(electrode: LinearElectrode, rungs: int) -> float:
    """The resistance of a discrete ladder: potentials of both rails at the middles of its cells, one solve."""
    porosity = np.repeat(np.asarray(electrode.porosity), rungs // electrode.porosity.size)
    fine = dataclasses.replace(electrode, porosity=porosity)
    kappa, sigma, reaction = (np.asarray(v) for v in fine.effective)
    h = float(electrode.thickness) / rungs

    def rail(k):
        inside = 1.0 / (0.5 * h / k[1:] + 0.5 * h / k[:-1])
        matrix = np.diag(np.append(inside, 0) + np.append(0, inside)) - np.diag(inside, 1) - np.diag(inside, -1)
        return matrix

    cross = np.diag(reaction * h)
    matrix = np.block([[rail(kappa) + cross, -cross], [-cross, rail(sigma) + cross]])
    load = np.zeros(2 * rungs)
    load[rungs - 1], load[rungs] = 1.0, -1.0  # into the electrolyte at the separator, out of the solid at the collector
    matrix[0, 0] += 1.0  # an earth through which no current flows
    potential = linalg.solve(matrix, load, assume_a="sym")
    return potential[rungs - 1] - potential[rungs] + 0.5 * h / kappa[-1] + 0.5 * h / sigma[0]


def test_graded_layers_are_the_limit_of_a_ladder():
    electrode = dataclasses.replace(layers_of(4), porosity=jnp.asarray([0.15, 0.3, 0.45, 0.6]))
    exact = float(layered(electrode))
    errors = [ladder(electrode, n) / exact - 1 for n in (80, 160)]
    assert abs(errors[1]) < 1e-4 and errors[0] / errors[1] == pytest.approx(4.0, rel=0.05)


def test_a_share_of_the_thickness_is_that_of_its_layer():
    """Layers of 1 and 3 parts are those of four even ones of which the last three are alike."""
    two = dataclasses.replace(layers_of(2), porosity=jnp.asarray([0.2, 0.5]), shares=jnp.asarray([1.0, 3.0]))
    four = dataclasses.replace(layers_of(4), porosity=jnp.asarray([0.2, 0.5, 0.5, 0.5]))
    assert float(layered(two)) == pytest.approx(float(layered(four)), rel=1e-13)


def test_the_derivative_of_the_layers():
    at = jnp.asarray([0.2, 0.3, 0.45, 0.5, 0.35])
    value = eqx.filter_jit(lambda p: layered(dataclasses.replace(layers_of(5), porosity=p)))
    found = jax.grad(value)(at)
    for k, h in enumerate(1e-5 * np.eye(5)):
        assert float(found[k]) == pytest.approx(float(value(at + h) - value(at - h)) / 2e-5, rel=1e-6)


def test_continuous_grading_is_that_of_many_layers_and_beats_two():
    """Against the best even electrode: more layers, less resistance, all within the published few percent."""
    even = linear_porous_electrode.optimum(LinearElectrode())["resistance_ohm_cm2"]
    gains = []
    for layers in (2, 8, 16):
        problem = graded_electrode.graded(layers)
        best = graded_electrode.challenge().climb(Log(problem))
        gains.append(100 * (1 - best.figures["resistance_ohm_cm2"] / even))
    assert 2.0 < gains[0] < gains[1] < gains[2] < 6.0


def test_grading_at_a_fixed_mass_holds_the_mass():
    challenge = graded_fixed_mass.challenge()
    best, log = solved(challenge)
    assert best.figures["solid_fraction"] == pytest.approx(0.7, abs=1e-6)
    assert best.figures["gain_percent"] > 5.0 and abs(log.evaluations[0].figures["gain_percent"]) < 1e-9


def test_entries_of_a_profile():
    space = Space(layers_of(3), profile("porosity", "", 0.1, 0.9, 0.4, lambda e: e.porosity, 3))
    assert space.names == ("porosity_1", "porosity_2", "porosity_3")
    made = space(jnp.asarray([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(made.porosity, [0.1, 0.5, 0.9], rtol=1e-14)
    np.testing.assert_allclose(space.locate(made), [0.0, 0.5, 1.0], atol=1e-14)
    one = Variable("first", "", 0.1, 10.0, 1.0, Entry(lambda e: e.shares, 0))
    assert float(Space(layers_of(2), (one,))(jnp.asarray([1.0])).shares[0]) == pytest.approx(10.0)


FREE = [Variable(f"x{k}", "", 0.0, 1.0, 0.4, Leaf(lambda r, k=k: r[k])) for k in (0, 1)]
BENT = FigureProblem(
    Space((jnp.zeros(()), jnp.zeros(())), FREE), lambda r: {"height": jnp.sin(3 * r[0]) * jnp.exp(r[1])}, "height"
)


def test_a_true_gradient_holds_and_a_wrong_one_is_refused():
    (found,) = gradient_check(Log(BENT)).values()
    assert found.trusted and "holds" in found.verdict and found.errors[1] < found.errors[0]

    def ramp(r):  # a difference that the derivative does not see
        return {"height": r[0] + jnp.floor(r[1] * 1e4) / 1e4}

    (found,) = gradient_check(Log(eqx.tree_at(lambda p: p.figures, BENT, ramp))).values()
    assert not found.trusted and found.verdict.startswith("Refused")
    nothing = judged(np.array([np.nan]), np.ones(1), np.ones(3), (0.1, 0.01, 0.001))
    assert not nothing.trusted and "not finite" in nothing.verdict


def test_the_power_of_a_layer_is_the_integral_that_it_stands_for():
    """With the current that solves the field equations, from a boundary-value solver."""
    electrode = LinearElectrode(porosity=0.35)
    kappa, sigma, reaction = (float(v) for v in electrode.effective)

    def equations(x, y):  # ionic current and overpotential
        return np.stack([reaction * y[1], y[0] / kappa - (1 - y[0]) / sigma])

    x = np.linspace(0, float(electrode.thickness), 41)
    start = np.stack([x / x[-1], np.full(41, 1e-4)])
    done = integrate.solve_bvp(equations, lambda a, b: [a[0], b[0] - 1], x, start, tol=1e-9, max_nodes=20000)
    fine = np.linspace(0, x[-1], 4001)
    current, eta = done.sol(fine)
    power = integrate.simpson(current**2 / kappa + (1 - current) ** 2 / sigma + reaction * eta**2, x=fine)
    assert power == pytest.approx(float(closed_form(electrode)), rel=1e-6)
    assert math.isfinite(power)


def test_the_mismatch_with_targets_and_its_derivative():
    """Two figures of two variables, in percent of their targets, squared; zero where both are met."""
    free = [
        Variable(name, "m", 1.0, 3.0, start, Leaf(lambda d, n=name: d[n])) for name, start in (("a", 1.5), ("b", 2.5))
    ]
    space = Space({"a": jnp.asarray(1.0), "b": jnp.asarray(1.0)}, free)
    figures = FigureProblem(
        space, lambda d: {"area": d["a"] * d["b"], "side": d["a"] + d["b"] ** 2}, "area", bounds=[Bound("side")]
    )
    problem = new_batch.OnTarget(figures, [4.0, 6.0])
    found, slopes = problem.linearise(space.start)
    expected = (100 * (3.75 / 4 - 1)) ** 2 + (100 * (7.75 / 6 - 1)) ** 2
    assert float(found["mismatch"]) == pytest.approx(expected, rel=1e-12)
    for k, direction in enumerate(np.eye(2)):
        ends = [float(problem.look(space.start + s * 1e-5 * direction)["mismatch"]) for s in (1.0, -1.0)]
        assert float(slopes[0, k]) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6)
    met = Climb(tolerance=1e-14)(Log(problem))
    assert met.figures["mismatch"] < 1e-6 and met.figures["area"] == pytest.approx(4.0, rel=1e-5)
