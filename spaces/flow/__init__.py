"""Spaces whose shapes flow: every terminal says what it makes of a shape, and only what fits is ever derived."""

from spaces.flow.grammar import FlowGrammar
from spaces.flow.space import FlowSpace
from spaces.flow.terminal import Scope, Shape, Terminal

__all__ = ["FlowGrammar", "FlowSpace", "Scope", "Shape", "Terminal"]
