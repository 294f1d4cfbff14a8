/* server/formats.h - how the loaded model writes its calls of tools and its thoughts. */
#ifndef SERVER_FORMATS_H
#define SERVER_FORMATS_H
#include "config/options.h"
#include "engine/engine.h"
#include "output/output.h"

struct formats {
    const struct tool_format      *tools;      /* NULL: calls are not looked for           */
    const struct reasoning_format *reasoning;  /* NULL: thoughts are not split from content */
    bool grounding;            /* answers may say where in the image things are: output/grounding.h */
};

/* As the options say; "auto" asks the chat template. */
void formats_choose(struct formats *f, const struct config *cfg, const struct engine *g);

/* The marks that a request's text must have, for struct params. */
void formats_show(struct params *p, const struct tool_format *tools, const struct reasoning_format *reasoning);

#endif
