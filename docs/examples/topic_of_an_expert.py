"""Which topics is an expert for, and is it more than chance?

python docs/examples/topic_of_an_expert.py runs/demo/routing 2 5      # expert 5 of layer 2
"""

import sys

import numpy as np

from moescope import analysis
from moescope.inference.store import RoutingStore

store = RoutingStore.open(sys.argv[1])
layer, expert = int(sys.argv[2]), int(sys.argv[3])
data = analysis.document_counts(store)  # choices of each document; groups=… if they share authors
tests = analysis.topic_tests(data, 999, np.random.default_rng(0))
cells = analysis.topic_expert_cells(data, tests)
own = cells[(cells.layer == layer) & (cells.expert == expert)].sort_values("log2_ratio")
columns = ["topic", "share", "base_share", "log2_ratio", "low", "high", "p_value", "groups"]
print(own[columns][::-1].to_string(index=False))
