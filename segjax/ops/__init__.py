"""Pure jnp functions without parameters: what layers, losses, metrics and tasks are made of."""
