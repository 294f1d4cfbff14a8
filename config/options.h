/* config/options.h - every setting of the program, from one table.
 *
 * A row of the table in options.c gives a setting its name, type, range,
 * default and help; from it follow the command line (`--max-num-seqs 8`), the
 * environment (OPENAUTOGLM_MAX_NUM_SEQS=8), the JSON file of `--config`
 * ("max_num_seqs": 8), `--help` and the documented config/default.json.
 * The command line wins over the environment, that over the file, that over
 * the default. Commands share the table; a row says to which it belongs.
 *
 *     struct config c;
 *     if (options_parse(&c, OPT_ENGINE | OPT_SERVER, argc, argv, &e) != 0) ...   // e names the option and its source
 *     options_free(&c); */
#ifndef CONFIG_OPTIONS_H
#define CONFIG_OPTIONS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"

enum option_group {
    OPT_ENGINE = 1, OPT_SERVER = 2, OPT_CHAT = 4, OPT_PLAN = 8,
    OPT_GPU = 16,                          /* beside another: a CPU has no use for it */
};

enum { OPTIONS_MAX_LIST = 64, OPTIONS_MAX_ROWS = 64 };

struct string_list {
    char *item[OPTIONS_MAX_LIST]; /* owned */
    int   n;
};

struct config {                  /* strings are owned; NULL or "": not set */
    /* what to run */
    char   *model, *device, *weights, *activations, *kv_cache_dtype, *content_format, *chat_template, *trace;
    int64_t threads, max_num_seqs, max_queue, max_model_len, max_batched_tokens;
    int64_t kv_bytes, image_cache_bytes, memory_bytes, gpu_memory;
    double  gpu_memory_fraction, max_pause;
    int64_t max_pixels, min_pixels, max_image_side, max_image_pixels, max_image_bytes, max_images;
    bool    prefix_cache, gpu_graphs, device_resize, deterministic;
    bool    selftest, trust_special_tokens;
    /* the server */
    char   *host, *api_key, *api_key_file, *log_level;
    struct string_list served_model_name, allow_origin;
    int64_t port, max_connections, max_body_bytes, max_body_total, input_threads;
    double  idle_timeout, read_timeout, write_timeout, load_wait, drain_delay, drain_seconds, keepalive_seconds;
    /* chat and plan */
    struct string_list image;
    char   *system;
    int64_t max_tokens, seed;
    double  temperature;
    bool    json;
    /* where the values came from */
    char   *config_file;
    bool    help;                          /* --help was given                                   */
    bool    given[OPTIONS_MAX_ROWS];       /* by row: not the default                            */
    struct string_list rest;               /* arguments that are not options                     */
};

/* argv[0] is skipped. Groups name the rows that the command line may use; the
 * environment and the file may set any row. -1: e->field is the option. */
int  options_parse(struct config *c, unsigned groups, int argc, char **argv, struct err *e);
void options_free(struct config *c);

bool options_given(const struct config *c, const char *name);
/* "--a, --b": the options of the groups that somebody set to other than their default; "" if none. Cut to n bytes. */
void options_changed(const struct config *c, unsigned groups, char *out, size_t n);
void options_help(FILE *out, unsigned groups);

/* The defaults of the groups' rows as a JSON object: config/default.json. */
void options_defaults(struct buf *out, unsigned groups);

#endif
