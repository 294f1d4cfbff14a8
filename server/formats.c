/* server/formats.c - chooses the formats of calls and thoughts by options and chat template. */
#include "server/formats.h"

#include <string.h>

#include "base/log.h"

/* The phone agents' clients read the thoughts in the content and keep them in the history: a model that was made for
 * them gets its text split only if the operator asks for it. */
static bool made_for_phones(const struct engine *g)
{
    static const char *const types[] = { "glm4v", "open_autoglm" };
    struct engine_info info;
    engine_info(g, &info);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(info.model_type, types[i]) == 0)
            return true;
    return false;
}

static bool writes(void *engine, const char *words) { return engine_template_writes(engine, words); }

/* Decides once, after the model is loaded, how its calls and thoughts are read: as the options say, or by what its
 * template writes. A model for phones answers with actions and has no thoughts to tell apart. */
void formats_choose(struct formats *f, const struct config *cfg, const struct engine *g)
{
    *f = (struct formats){ .tools = tool_format_named(cfg->tool_call_parser),
                           .reasoning = reasoning_format_named(cfg->reasoning_parser) };
    if (strcmp(cfg->tool_call_parser, "auto") == 0)
        f->tools = tool_format_of(writes, (void *)g);
    if (strcmp(cfg->reasoning_parser, "auto") == 0 && !made_for_phones(g))
        f->reasoning = reasoning_format_of(writes, (void *)g);
    f->grounding = engine_template_writes(g, "grounding>");
    if (f->tools)
        log_info("calls of tools are read as %s", tool_format_name(f->tools));
    if (f->reasoning)
        log_info("thoughts are told apart from the content as %s", reasoning_format_name(f->reasoning));
    if (f->grounding)
        log_info("places in the image are told beside the content");
}

/* Adds marks to the special tokens that the text shall have. What has no place any more is left out: there are fewer
 * marks than places. */
static void show(struct params *p, const char *const *marks)
{
    int n = 0;
    while (n < ENGINE_MAX_SHOWN && p->shown[n])
        n++;
    while (*marks && n < ENGINE_MAX_SHOWN)
        p->shown[n++] = *marks++;
}

void formats_show(struct params *p, const struct tool_format *tools, const struct reasoning_format *reasoning)
{
    if (tools)
        show(p, tool_format_marks(tools));
    if (reasoning)
        show(p, reasoning_format_marks(reasoning));
}
