"""The papers' tables and figures, one experiment each."""
