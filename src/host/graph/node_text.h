/* node_text.h - nodes as text. */
#ifndef QUERN_GRAPH_NODE_TEXT_H
#define QUERN_GRAPH_NODE_TEXT_H

#include "../base/text.h"
#include "graph.h"

/* What it computes from which tensors, without its output. */
void node_text(text *line, const graph_node *node);

/* Takes the real numbers among the attributes out of such a line, a probability or an epsilon, and
 * leaves the structure: the op, its inputs, all other attributes and what stands behind. */
void node_text_strip(char *line);
/* Whether two lines are of one structure. */
bool node_text_alike(const char *a, const char *b);

#endif
