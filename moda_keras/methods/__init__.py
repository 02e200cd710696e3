"""Ways to find modules; each ends in a `ModuleSet`."""
