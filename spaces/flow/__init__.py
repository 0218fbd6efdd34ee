"""Spaces whose shapes flow: every terminal says what it makes of a shape, and only what fits is ever derived."""

from spaces.flow.grammar import FlowGrammar, Scope, Shape, Terminal
from spaces.flow.space import FlowSpace

__all__ = ["FlowGrammar", "FlowSpace", "Scope", "Shape", "Terminal"]
