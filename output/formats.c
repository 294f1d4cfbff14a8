/* output/formats.c - the tables of how families mark calls and thoughts. A new
 * format is an entry here and, where none of the parsers reads it, one more file. */
#include <string.h>

#include "output/format.h"

/* The first entry whose hints a template writes is the one for it: so those whose hints say more come first. */
static const struct tool_format tools[] = {
    /* GLM-4.5 and later: <tool_call>name, then <arg_key>...</arg_key><arg_value>...</arg_value> */
    { .name = "glm", .open = "<tool_call>", .hint = { "<arg_key>", "<arg_value>" },
      .marks = { "<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>" },
      .frame = { .trigger = "<tool_call>", .begin = "<tool_call>", .arguments = "\n", .end = "</tool_call>",
                 .separator = "\n", .key = "<arg_key>", .value = "</arg_key>\n<arg_value>", .past = "</arg_value>",
                 .next = "\n" },
      .step = glm_step },
    /* Hermes, Qwen2.5, Qwen3 and their vision models: <tool_call>{"name": ..., "arguments": {...}}</tool_call> */
    { .name = "hermes", .open = "<tool_call>", .close = "</tool_call>", .hint = { "<tool_call>" },
      .marks = { "<tool_call>", "</tool_call>" },
      .frame = { .trigger = "<tool_call>", .begin = "<tool_call>\n{\"name\": \"", .arguments = "\", \"arguments\": ",
                 .end = "}\n</tool_call>", .separator = "\n" },
      .step = hermes_step },
    /* Llama 3.1 and later: {"name": ..., "parameters": {...}}, with or without <|python_tag|> before it */
    { .name = "llama3_json", .open = "<|python_tag|>", .bare = true, .hint = { "\"parameters\": " },
      .marks = { "<|python_tag|>" },
      .frame = { .trigger = "<|python_tag|>", .begin = "{\"name\": \"", .arguments = "\", \"parameters\": ",
                 .end = "}", .separator = "; ", .bare = true },
      .step = hermes_step },
};

static const struct reasoning_format thoughts[] = {
    { .name = "think", .open = "<think>", .close = "</think>", .marks = { "<think>", "</think>" } },
};

enum { N_TOOLS = sizeof tools / sizeof *tools, N_THOUGHTS = sizeof thoughts / sizeof *thoughts };

const struct tool_format *tool_format_named(const char *name)
{
    for (int i = 0; i < N_TOOLS; i++)
        if (strcmp(tools[i].name, name) == 0)
            return &tools[i];
    return NULL;
}

const struct reasoning_format *reasoning_format_named(const char *name)
{
    for (int i = 0; i < N_THOUGHTS; i++)
        if (strcmp(thoughts[i].name, name) == 0)
            return &thoughts[i];
    return NULL;
}

const char *tool_format_names(void) { return "glm, hermes, llama3_json"; }
const char *reasoning_format_names(void) { return "think"; }
const char *tool_format_name(const struct tool_format *f) { return f->name; }
const char *reasoning_format_name(const struct reasoning_format *f) { return f->name; }
const char *const *tool_format_marks(const struct tool_format *f) { return f->marks; }
const char *const *reasoning_format_marks(const struct reasoning_format *f) { return f->marks; }
const char *reasoning_format_opening(const struct reasoning_format *f) { return f->open; }
const char *reasoning_format_closing(const struct reasoning_format *f) { return f->close; }
const struct tool_frame *tool_format_frame(const struct tool_format *f) { return &f->frame; }

/* The first format all of whose hints the model's template writes. NULL: none, and calls stay text. */
const struct tool_format *tool_format_of(template_writes *writes, void *arg)
{
    for (int i = 0; i < N_TOOLS; i++) {
        bool all = true;
        for (const char *const *hint = tools[i].hint; *hint; hint++)
            all = all && writes(arg, *hint);
        if (all)
            return &tools[i];
    }
    return NULL;
}

/* The first format whose closing mark the template writes. The opening one is often the prompt's and tells less. */
const struct reasoning_format *reasoning_format_of(template_writes *writes, void *arg)
{
    for (int i = 0; i < N_THOUGHTS; i++)
        if (writes(arg, thoughts[i].close))
            return &thoughts[i];
    return NULL;
}
