/* node_text.h - nodes as text. */
#ifndef QUERN_GRAPH_NODE_TEXT_H
#define QUERN_GRAPH_NODE_TEXT_H

#include "../base/text.h"
#include "graph.h"

/* What it computes from which tensors, without its output. */
void node_text(text *line, const graph_node *node);

#endif
