/* dump.c - a program as text: its steps with the bytes that they read and write, and its memory. */
#include "compile.h"

#include "../base/text.h"

typedef struct line_sink {
    void (*write)(void *self, const char *line);
    void *self;
    char buffer[2048];
} line_sink;

static text line_begin(line_sink *sink) { return text_over(sink->buffer, sizeof sink->buffer); }

static void line_end(line_sink *sink, text *line) {
    text_end_line(line);
    sink->write(sink->self, sink->buffer);
}

/* That of a parameter's copy may be the parameter's. */
static const char *gradient_name(const quern_program *p, const quern_tensor *t) {
    const quern_tensor *of = plan_of(p, t)->gradient_of;
    return of ? of->name : t->name;
}

static void dump_step(const quern_program *p, line_sink *sink, int32_t index) {
    const program_step *step = &p->steps[index];
    const planned_node *n = step->node;
    text line = line_begin(sink);
    text_add(&line, "%4d ", (int)index);
    if (!n) {
        text_add(&line, "fill      gradient of %s, %zu bytes%s",
                 p->tensors[step->fill_root].tensor->name, step->fill_bytes,
                 step->first_only ? ", first microbatch only" : "");
        line_end(sink, &line);
        return;
    }
    text_add(&line, "%s %s", step->backward ? "backward " : "forward  ", n->out[0]->name);
    for (int32_t o = 1; (n->op->flags & QUERN_OP_FUSED) && o < n->op->output_count; o++)
        text_add(&line, ", %s", n->out[o]->name);
    text_add(&line, " = %s(", n->op->name);
    for (int32_t i = 0; i < n->input_count; i++)
        text_add(&line, "%s%s", i ? ", " : "", n->in[i] ? n->in[i]->name : "-");
    text_add(&line, n->is_copy && !step->backward ? "), by the update" : ")");
    for (int32_t i = 0; step->backward && i < n->input_count; i++)
        if (input_differentiable(n, i) && plan_of(p, n->in[i])->depends)
            text_add(&line, " d%s%s", gradient_name(p, n->in[i]),
                     step->accumulate[i] ? " +=" : " =");
    line_end(sink, &line);
}

static void dump_item(const quern_program *p, line_sink *sink, int32_t index) {
    const arena_item *item = &p->items[index];
    text line = line_begin(sink);
    text_add(&line, "%12zu + %-12zu steps %d to %d  %s %s%s", item->offset, item->bytes,
             (int)item->first, (int)item->last, item->what, item->name,
             item->shares >= 0 ? " (in place)" : "");
    line_end(sink, &line);
}

void quern_program_dump(const quern_program *p, void (*write)(void *self, const char *line),
                        void *self) {
    line_sink sink = {.write = write, .self = self};
    if (!p || !write) return;
    text line = line_begin(&sink);
    text_add(&line,
             "program: %s, %s, batch %lld, %d forward and %d backward steps, arena %zu bytes, "
             "inputs %zu bytes",
             p->desc.training ? "training" : "evaluation",
             p->graph->dtype == QUERN_F32 ? quern_precision_name(p->desc.precision) : "f64",
             (long long)p->desc.batch_size, (int)p->forward_count,
             (int)(p->step_count - p->forward_count), p->arena_bytes, p->input_bytes);
    line_end(&sink, &line);
    for (int32_t i = 0; i < p->step_count; i++) dump_step(p, &sink, i);
    for (int32_t i = 0; i < p->item_count; i++) dump_item(p, &sink, i);
}
