"""Diffusion in a particle under changes proportional to exp(s t), in closed form."""

import jax.numpy as jnp
from jaxtyping import Array


def sphere_impedance(z: Array) -> Array:
    """Y(z) = tanh q / (q - tanh q), q = sqrt(z), of a sphere with z = s R^2 / D, complex and not zero.

    The change of the concentration at the surface is -R Y / D times that of the flux out. Y tends to 3/z + 1/5 for slow
    changes and to 1/q for fast ones. For small z the difference loses digits, which Lambert's continued fraction
    q coth q - 1 = z / (3 + z / (5 + z / (7 + ...))) keeps.

    **Source:** Jacobsen and West 1995, doi 10.1016/0013-4686(94)E0192-3.
    """
    near = jnp.abs(z) < 1.0
    q = jnp.sqrt(jnp.where(near, jnp.ones_like(z), z))
    decay = jnp.exp(-2.0 * q)
    fast = (1.0 - decay) / (q * (1.0 + decay) - (1.0 - decay))
    small = jnp.where(near, z, jnp.ones_like(z))
    fraction = 21.0 * jnp.ones_like(z)
    for odd in range(19, 1, -2):
        fraction = odd + small / fraction
    return jnp.where(near, fraction / small, fast)
