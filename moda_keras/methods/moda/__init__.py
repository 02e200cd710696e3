"""MODA (ICSE 2026): modules by how often units are active."""
