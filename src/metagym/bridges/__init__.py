"""Thin bridges to other libraries of environments; each imports its package only when it is used."""
