"""Patterns as programs that search in linear time: what the rules of redaction are made of.

characters.py   sets of characters, and the bytes they take in UTF-8
trees.py        regular expressions and globs as trees
programs.py     trees as a program, which ``_core`` and ``_pure`` both run
needs.py        what a text must have for a tree to match in it
detectors.py    the patterns that have names
"""

from __future__ import annotations
