"""Which topics is an expert for, and is it more than chance?

python docs/examples/topic_of_an_expert.py runs/demo/routing 2 5      # expert 5 of layer 2
"""

import sys

import numpy as np

from moescope import analysis
from moescope.inference.store import RoutingStore

store = RoutingStore.open(sys.argv[1])
layer, expert = int(sys.argv[2]), int(sys.argv[3])
data = analysis.document_counts(store)  # choices of each document, the unit of every test
orders = analysis.document_orders(np.random.default_rng(0), len(data.ids), 999)
null = analysis.topic_null(data, analysis.permuted_topics(orders, data.topic_ids))
weights = analysis.poisson_weights(data.ids, 200, seed=0)
cells = analysis.topic_expert_cells(data, weights, null.largest_cell)
own = cells[(cells.layer == layer) & (cells.expert == expert)].sort_values("log2_ratio")
columns = ["topic", "share", "base_share", "log2_ratio", "low", "high", "p_value", "documents"]
print(own[columns][::-1].to_string(index=False))
