"""How nodes of every operator are drawn: importing this fills RECIPES."""

from tests.differential.recipes import elementwise as elementwise
