/* tests/options.h - the engine's options at their defaults, but for what is named:
 *
 *     struct engine_config c = CONFIG(c.max_num_seqs = 1, c.threads = 2); */
#ifndef TESTS_OPTIONS_H
#define TESTS_OPTIONS_H
#include "config/options.h"

static inline struct engine_config default_config(void)
{
    static struct config all;      /* owns the strings, for as long as the program runs */
    if (!all.engine.device)
        options_init(&all);
    return all.engine;
}

#define CONFIG(...) ({ struct engine_config c = default_config(); (void)0, ##__VA_ARGS__; c; })

#endif
