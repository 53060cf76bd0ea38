"""How nodes of every operator are drawn: importing this fills RECIPES."""

from tests.differential.recipes import assorted as assorted
from tests.differential.recipes import classic as classic
from tests.differential.recipes import control as control
from tests.differential.recipes import elementwise as elementwise
from tests.differential.recipes import indexing as indexing
from tests.differential.recipes import movement as movement
from tests.differential.recipes import quantization as quantization
from tests.differential.recipes import reduction as reduction
from tests.differential.recipes import sequence_models as sequence_models
from tests.differential.recipes import vision as vision
