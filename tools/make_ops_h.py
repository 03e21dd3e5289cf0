#!/usr/bin/env python3
"""Writes include/quern/ops.h, the builders' prototypes, from include/quern/ops.def.

Usage: make_ops_h.py ops.def > ops.h
"""
import re
import sys

HEAD = """\
/* ops.h - a builder per op. Generated from ops.def by tools/make_ops_h.py: edit that, not this.
 *
 * A builder adds a node to the graph and returns its first output, or NULL once anything in the
 * graph has failed (quern_graph_status says what). Attributes: op_desc.h; NULL: all defaults. */
#ifndef QUERN_OPS_H
#define QUERN_OPS_H

#include <quern/graph.h>
#include <quern/op_desc.h>

QUERN_BEGIN_C
"""

ROW = re.compile(
    r"QUERN_OP\(\s*(\w+),\s*(DESC|NO_DESC|FUSED),\s*IN(\w+?)\(([^)]*)\),\s*OUT\w*\([^)]*\),"
    r"\s*([^,]*),\s*([^,]*),\s*(\w+),((?:\s*\"[^\"]*\")+)\s*\)", re.S)


def wrap(prefix, items, suffix):
    lines, line = [], prefix
    pad = " " * len(prefix)
    for i, item in enumerate(items):
        piece = item + (suffix if i == len(items) - 1 else ",")
        if len(line) + len(piece) + 1 > 99:
            lines.append(line.rstrip())
            line = pad + piece
        else:
            line += piece if line in (prefix, pad) else " " + piece
    lines.append(line)
    return "\n".join(lines)


def prototype(name, desc, arity, inputs):
    names = [n.strip() for n in inputs.split(",")]
    items = ["quern_graph *graph"]
    if arity == "_LIST":
        items += [f"quern_tensor *const *{names[0]}", "int32_t count"]
    else:
        items += [f"quern_tensor *{n}" for n in names]
    if desc == "DESC":
        items.append(f"const quern_{name}_desc *desc")
    return wrap(f"QUERN_API quern_tensor *quern_{name}(", items, ");")


def main():
    text = open(sys.argv[1], encoding="utf-8").read()
    rows = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    print(HEAD)
    count = 0
    for name, desc, arity, inputs, _, _, _, formula in ROW.findall(rows):
        count += 1
        if desc == "FUSED":
            continue
        sentence = "".join(re.findall(r'"([^"]*)"', formula))
        if len(sentence) <= 93:
            print(f"/* {sentence} */")
        else:
            cut = sentence.rfind(" ", 0, 94)
            print(f"/* {sentence[:cut]}\n * {sentence[cut + 1:]} */")
        print(prototype(name, desc, arity, inputs))
    if count != len(re.findall(r"^QUERN_OP\(", rows, flags=re.M)):
        sys.exit("make_ops_h: a row of ops.def was not understood")
    print("\nQUERN_END_C\n#endif")


main()
