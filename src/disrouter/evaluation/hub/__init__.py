"""The paper's own datasets, through the ``datasets`` library: from a model hub or from a local folder of files.

Importing this package loads nothing heavy; ``datasets`` is imported when the first row is read.
"""

from disrouter.evaluation.hub.catalogue import DATASETS, Example, HubDataset
from disrouter.evaluation.hub.suite import SUITES, HubSuite

__all__ = ["DATASETS", "SUITES", "Example", "HubDataset", "HubSuite"]
