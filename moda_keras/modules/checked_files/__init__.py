"""Reading files that may be damaged or malicious: sizes are checked before anything is made."""
